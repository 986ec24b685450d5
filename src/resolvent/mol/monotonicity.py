"""Local monotonicity of an operator: the smallest eigenvalue of the symmetric part of its Jacobian at a point."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from resolvent.solve import Ritz, along, inner, lanczos, norm

Operator = Callable[[Tensor], Tensor]


def symmetric_jacobian(F: Operator, x: Tensor) -> Operator:
    """``v -> (J v + J^T v) / 2`` with J the real-linear Jacobian of F at x and ``J^T`` its adjoint in ``Re a^H b``.

    F is evaluated once; each product then takes two backward passes, ``J v`` as the derivative of ``w -> J^T w``.
    F must be twice differentiable by autograd, as all networks here are.
    """
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = F(x)
        probe = torch.zeros_like(value).requires_grad_()
        (pulled,) = torch.autograd.grad(value, x, probe, create_graph=True, materialize_grads=True)

    def apply(v: Tensor) -> Tensor:
        (transposed,) = torch.autograd.grad(value, x, v, retain_graph=True, materialize_grads=True)
        (forward,) = torch.autograd.grad(pulled, probe, v, retain_graph=True, materialize_grads=True)
        return (forward + transposed) / 2

    return apply


def local_monotonicity(F: Operator, x: Tensor, *, steps: int = 50, tol: float = 1e-4, seed: int = 0) -> Ritz:
    """The smallest eigenvalue of ``(J_F + J_F^T) / 2`` at x, for each sample, by Lanczos.

    ``<v, J_F v> >= theta |v|^2`` for all v says how monotone F is at x, to first order: where theta > 0 for
    ``F = G``, a solution x is isolated. It says nothing about other points, so nothing about uniqueness.

    The value is an estimate from above, and `Ritz.residual` bounds its distance to some eigenvalue, presumably the
    smallest. Use double precision if the eigenvalues differ greatly in size, as in J_G with a large lam.

    Args:
        F: a score, or `Equation.residual`, whose Jacobian is J_G; ``(batch, ...)`` to the same, each sample
            independent.
        x: the point, ``(batch, *lead, *spatial)``, complex or real.
        steps: maximum number of Lanczos steps, each two backward passes and one image of memory.
        tol: see `lanczos`.
        seed: seed of the start.

    >>> import torch
    >>> turn = lambda x: 0.3 * x + 5j * x  # far from symmetric: <v, J v> = 0.3 |v|^2
    >>> round(local_monotonicity(turn, torch.ones(1, 4, dtype=torch.complex64)).value.item(), 4)
    0.3
    """
    return lanczos(symmetric_jacobian(F, x), x.detach(), steps=steps, tol=tol, seed=seed)


def verified(F: Operator, x: Tensor, ritz: Ritz) -> Ritz:
    """Value and residual of a Ritz vector, recomputed in the precision of x: they then hold for F itself.

    The search can be done in single precision, which is several times faster, and its result checked here with
    ``Equation.to_double().residual``, at the cost of one product with the Jacobian.
    """
    v = ritz.vector.to(x.dtype)
    v = v / along(norm(v), v)
    image = symmetric_jacobian(F, x)(v)
    value = inner(v, image)
    return Ritz(value, v, norm(image - along(value, v) * v), ritz.steps)


def monotone_penalty(F: Operator, x: Tensor, m: float, *, steps: int = 10, seed: int = 0) -> Tensor:
    """The mean of ``max(0, m - theta)`` over samples, theta the eigenvalue that `local_monotonicity` finds at x.

    Differentiable in the weights of F: the eigenvector v is searched without a graph, then ``<v, J_F v>`` is evaluated
    once with a graph, which gives the gradient of the eigenvalue where it is simple. No gradient reaches x. With few
    Lanczos steps theta is too large: a penalty of zero proves nothing.

    Args:
        F: a score, or `Equation.residual`.
        x: the point, ``(batch, *lead, *spatial)``.
        m: the wanted monotonicity, with some margin.
        steps: Lanczos steps.
        seed: seed of the start; give each training step its own.
    """
    v = local_monotonicity(F, x, steps=steps, tol=0.0, seed=seed).vector
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        (pulled,) = torch.autograd.grad(F(x), x, v, create_graph=True, materialize_grads=True)
        return torch.relu(m - inner(v, pulled)).mean()
