import pytest
import torch

from problems import random
from resolvent.solve import implicit
from resolvent.testing import check_implicit_gradient


def solve(matrix, b, t):
    """x with ``matrix x + t |x|^2 x = b``, by Newton's method without a graph, its gradient attached."""
    x = torch.zeros_like(b).detach()
    size = b.shape[1]

    def residual(x):
        return (matrix @ x.unsqueeze(-1)).squeeze(-1) + t * x**3 - b

    with torch.no_grad():
        for _ in range(60):
            x = x - torch.linalg.solve(matrix + 3 * t * torch.diag_embed(x**2), residual(x))

    def adjoint_solve(vjp, v):
        jacobian_t = torch.stack([vjp(e.expand_as(v)) for e in torch.eye(size, dtype=v.dtype)], 2)
        return torch.linalg.solve(jacobian_t, v)

    return implicit(x, residual, adjoint_solve)


def problem():
    matrix = random(2, 4, 4, dtype=torch.float64)
    return matrix @ matrix.mT + torch.eye(4), random(2, 4, seed=1, dtype=torch.float64), torch.tensor(0.3).double()


def test_gradient_is_that_of_the_solution_map():
    check_implicit_gradient(solve, problem(), tol=1e-7)


def test_value_is_unchanged_and_new():
    x = torch.ones(1, 2)
    t = torch.ones(1, requires_grad=True)
    out = implicit(x, lambda x: x - t, lambda vjp, v: v)
    assert out.equal(x)
    assert out.data_ptr() != x.data_ptr()
    assert out.requires_grad


@pytest.mark.parametrize("scale", [1e-6, 1e6, 1e-20])
def test_gradient_scales_with_the_loss(scale):
    matrix, b, t = problem()
    b.requires_grad_()
    (one,) = torch.autograd.grad(solve(matrix, b, t).sum(), b)
    (other,) = torch.autograd.grad(scale * solve(matrix, b, t).sum(), b)
    torch.testing.assert_close(other / scale, one, rtol=1e-12, atol=0)


def test_nothing_is_attached_without_gradients():
    matrix, b, t = problem()
    with torch.no_grad():
        assert not solve(matrix, b.requires_grad_(), t).requires_grad


def test_second_derivatives_are_refused_and_not_wrong():
    matrix, b, t = problem()
    b.requires_grad_()
    with pytest.raises(RuntimeError, match="differentiated again"):
        torch.autograd.grad((solve(matrix, b, t) ** 2).sum(), b, create_graph=True)


def test_tensors_changed_before_backward_are_noticed():
    matrix, b, t = problem()
    t.requires_grad_()
    x = solve(matrix, b, t)
    matrix.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        x.sum().backward()


def test_backward_may_run_twice():
    matrix, b, t = problem()
    b.requires_grad_()
    x = solve(matrix, b, t).sum()
    first = torch.autograd.grad(x, b, retain_graph=True)[0]
    assert torch.autograd.grad(x, b)[0].equal(first)
