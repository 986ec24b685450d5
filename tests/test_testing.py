"""The shipped checks find the faults they are for, and name the number."""

import pytest
import torch

from problems import PLANE, random, small_scores
from resolvent.linop import SENSE, LinearOperator
from resolvent.monotone import PlainCNN, Score
from resolvent.solve import implicit
from resolvent.testing import (
    check_adjoint,
    check_contraction,
    check_implicit_gradient,
    check_linear,
    check_monotone,
    check_norm_bound,
    check_normal,
)


def number(fault):
    """The measured number in a message, which must be one."""
    return float(str(fault.value).split("allowed")[0].rstrip(" ,").split()[-1])


class Faulty(LinearOperator):
    """SENSE with one method replaced."""

    def __init__(self, **methods):
        super().__init__()
        self.good = PLANE.operator(2)
        self.methods = methods

    def forward(self, x):
        return self.methods.get("forward", self.good.forward)(x)

    def adjoint(self, y):
        return self.methods.get("adjoint", self.good.adjoint)(y)

    def normal(self, x):
        return self.methods.get("normal", self.good.normal)(x)

    @property
    def norm_bound(self):
        return self.methods.get("scale", 1.0) * self.good.norm_bound


X, Y = random(2, 6, 5), PLANE.kspace(2)
GOOD = PLANE.operator(2)


def without_mask(y):
    return SENSE(PLANE.random_maps(2), torch.ones(6, 5)).adjoint(y)


@pytest.mark.parametrize(
    "adjoint",
    [
        without_mask,
        lambda y: 0.99 * GOOD.adjoint(y),
        lambda y: 1j * GOOD.adjoint(y),
        lambda y: -GOOD.adjoint(y),
        lambda y: GOOD.adjoint(y).conj(),
        lambda y: GOOD.adjoint(y) * torch.nan,
    ],
)
def test_wrong_adjoint_is_found(adjoint):
    check_adjoint(Faulty(), X, Y)
    with pytest.raises(AssertionError, match=r"A.adjoint is not the adjoint of A: .* allowed 1e-10"):
        check_adjoint(Faulty(adjoint=adjoint), X, Y)


def test_wrong_adjoint_of_one_sample_is_found():
    factor = torch.tensor([1.0, 1.01]).reshape(2, 1, 1)
    with pytest.raises(AssertionError, match="is not the adjoint of A"):
        check_adjoint(Faulty(adjoint=lambda y: factor * GOOD.adjoint(y)), X, Y)


@pytest.mark.parametrize("f", [torch.conj, torch.abs, lambda x: x + 1e-3, lambda x: x + 1e-3 * x**2, lambda x: x.real])
def test_map_that_is_not_linear_is_found(f):
    check_linear(lambda x: (2 - 1j) * x, X)
    with pytest.raises(AssertionError, match="A is not linear") as fault:
        check_linear(f, X)
    assert number(fault) > 1e-6


def test_wrong_normal_is_found():
    check_normal(Faulty(), X)
    with pytest.raises(AssertionError, match=r"A.normal is not A.adjoint\(A\(x\)\)") as fault:
        check_normal(Faulty(normal=lambda x: 1.01 * GOOD.normal(x)), X)
    assert number(fault) == pytest.approx(0.01, rel=1e-2)


def test_norm_bound_that_is_too_small_is_found():
    check_norm_bound(Faulty(), X)
    with pytest.raises(AssertionError, match="norm_bound is too small"):
        check_norm_bound(Faulty(scale=0.7), X)


def test_lack_of_monotonicity_is_found():
    for score in (small_scores(2)[k] for k in ("PlainCNN", "ProductNetwork", "ResidualStack")):
        check_monotone(score, X)
        with pytest.raises(AssertionError, match=r"F is not 1\.2-monotone: found .* short by"):
            check_monotone(score, X, m=1.2)
    wild = PlainCNN(m=0.3, channels=4, depth=3).double()
    with torch.no_grad():
        for w in wild.weights:
            w.mul_(3)
    with pytest.raises(AssertionError, match=r"not 0\.3-monotone"):
        check_monotone(wild, X)


def test_monotonicity_that_fails_in_one_direction_only_is_found():
    normal = random(1, 30, seed=77)
    normal = (normal / normal.norm()).reshape(1, 6, 5)

    class Rare(torch.nn.Module):
        def __call__(self, x):
            return x - 1.2 * (normal.conj() * x).sum((1, 2), keepdim=True) * normal

    F = Rare()
    values = [float((random(1, 6, 5, seed=s).conj() * F(random(1, 6, 5, seed=s))).real.sum()) for s in range(20)]
    assert min(values) > 0  # random pairs do not see it
    score = Score(lambda x, shared, own: x - F(x), ())
    with pytest.raises(AssertionError, match="not 0-monotone"):
        check_monotone(score, X[:1], m=0.0, ascent=30)


def test_score_does_not_know_its_constant():
    with pytest.raises(ValueError, match=r"does not know its constant\. Pass m"):
        check_monotone(small_scores(2)["PlainCNN"].condition(), X)


def test_map_that_does_not_contract_is_found():
    check_contraction(lambda x: 0.5 * x, X, q=0.5)
    with pytest.raises(AssertionError, match=r"T does not contract by 0\.49: found .* = 0\.5") as fault:
        check_contraction(lambda x: 0.5 * x, X, q=0.49)
    assert number(fault) == pytest.approx(0.01, rel=1e-3)


def root(sign, detach=False):
    """x with x^3 + x = a b, the gradient attached with a sign."""

    def solve(a, b):
        target = (a * b).reshape(1, -1)
        x = torch.zeros_like(target).detach()
        with torch.no_grad():
            for _ in range(60):
                x = x - (x**3 + x - target) / (3 * x**2 + 1)
        target = (a * (b.detach() if detach else b)).reshape(1, -1)
        return implicit(x, lambda x: x**3 + x - target, lambda vjp, v: sign * v / vjp(torch.ones_like(v)))

    return solve


def test_wrong_implicit_gradient_is_found():
    inputs = [random(4, dtype=torch.float64), random(4, seed=1, dtype=torch.float64)]
    check_implicit_gradient(root(1), inputs)
    with pytest.raises(AssertionError, match="gradient of input 0 is not that of the solution") as fault:
        check_implicit_gradient(root(-1), inputs)
    assert number(fault) == pytest.approx(2, rel=1e-3)
    with pytest.raises(AssertionError, match="input 1 has no gradient, but the result changes"):
        check_implicit_gradient(root(1, detach=True), inputs)


def test_numbers_that_are_none_are_found():
    with pytest.raises(AssertionError):
        check_contraction(lambda x: x * torch.nan, torch.randn(1, 8, dtype=torch.complex128), q=0.5)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_missing_gradient_is_found_whatever_the_scale_of_the_data(scale):
    y, lam = scale * torch.randn(1, 50, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    with pytest.raises(AssertionError, match="no gradient"):
        check_implicit_gradient(lambda y, lam: y * lam.detach() / (1 + lam.detach()), [y, lam])
