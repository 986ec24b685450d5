"""Checks for your own operators: each computes one number, and raises an AssertionError with it if it is too large.

They use random vectors, so they can refute but not prove: a check that fails shows a defect, a check that passes only
shows that random vectors found none. Work in double precision, on a small image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from resolvent.linop import LinearOperator
from resolvent.linop.trials import adjoint_error, norm_found
from resolvent.monotone import MonotoneOperator, Score
from resolvent.solve import inner, norm

_Map = Callable[[Tensor], Tensor]


def check_adjoint(A: LinearOperator, x: Tensor, y: Tensor, *, tol: float = 1e-10) -> None:
    """Check ``<A x, y> = <x, A^H y>``, complex, up to `tol` ``|A x| |y|``. Pass a random y that is NOT masked.

    Args:
        A: the operator.
        x: a random image ``(batch, ...)``.
        y: random measurements ``(batch, ...)``.
        tol: 1e-10 in double precision, 1e-4 in single.

    Raises:
        AssertionError: with the relative difference.

    >>> import torch
    >>> from resolvent import SENSE
    >>> x, y = torch.randn(2, 1, 2, 4, 4, dtype=torch.complex128)
    >>> check_adjoint(SENSE(y, torch.eye(4)), x[:, 0], y)
    """
    worst = float(adjoint_error(A, x, y).max())
    _demand(worst, tol, "A.adjoint is not the adjoint of A: |<Ax,y> - <x,A^H y>| / |Ax||y|")


def check_linear(A: _Map, x: Tensor, *, tol: float = 1e-10) -> None:
    """Check ``A (a x + b z) = a A x + b A z`` for complex a and b, z a rearrangement of x; and ``A 0 = 0``.

    Raises:
        AssertionError: with the relative difference.

    >>> import torch
    >>> check_linear(torch.fft.fft, torch.randn(1, 8, dtype=torch.complex128))
    """
    z = x.flatten(1).flip(1).reshape(x.shape) * 1j
    a, b = 0.6 - 1.1j, -0.4 + 0.3j
    expected = a * A(x) + b * A(z)
    difference = norm(A(a * x + b * z) - expected) + norm(A(torch.zeros_like(x)))
    _demand(_worst(difference, norm(expected)), tol, "A is not linear: |A(ax+bz) - aAx - bAz| / |A(ax+bz)|")


def check_normal(A: LinearOperator, x: Tensor, *, tol: float = 1e-10) -> None:
    """Check ``A.normal(x) = A^H A x`` for an operator that fuses the two.

    Raises:
        AssertionError: with the relative difference.

    >>> import torch
    >>> from resolvent import SENSE
    >>> x = torch.randn(1, 2, 4, 4, dtype=torch.complex128)
    >>> check_normal(SENSE(x, torch.eye(4)), x[:, 0])
    """
    expected = A.adjoint(A(x))
    _demand(
        _worst(norm(A.normal(x) - expected), norm(expected)),
        tol,
        "A.normal is not A.adjoint(A(x)): relative difference",
    )


def check_norm_bound(A: LinearOperator, x: Tensor) -> None:
    """Check ``|A| <= A.norm_bound`` for each sample, with 30 power iterations from x.

    Raises:
        AssertionError: with the ratio of the norm found to the bound.

    >>> import torch
    >>> from resolvent import SENSE
    >>> x = torch.randn(1, 2, 4, 4, dtype=torch.complex128)
    >>> check_norm_bound(SENSE(x, torch.eye(4)), x[:, 0])
    """
    found = norm_found(A, x, steps=30)
    _demand(float((found / A.norm_bound).max()) - 1, 1e-6, "A.norm_bound is too small: norm found / bound - 1")


def check_monotone(
    F: MonotoneOperator | Score, x: Tensor, *, m: float | None = None, draws: int = 20, ascent: int = 5
) -> None:
    """Check ``<F(u) - F(v), u - v> >= m |u - v|^2`` on random pairs, and on pairs made worse by gradient descent.

    Args:
        F: a score, or an operator that needs no scan.
        x: an image ``(batch, ...)`` around which pairs are drawn, near and far.
        m: constant to check; by default ``F.m``; required for a `Score`.
        draws: number of pairs, at sizes from 1e-3 to 10 times that of x.
        ascent: steps that make each pair worse.

    Raises:
        AssertionError: with the smallest quotient found.

    >>> import torch
    >>> from resolvent.monotone import ResidualStack
    >>> F = ResidualStack(m=0.2, channels=4, layers=2).double()
    >>> check_monotone(F, torch.randn(1, 6, 6, dtype=torch.complex128))
    """
    if isinstance(F, MonotoneOperator):
        m, F = F.m.value if m is None else m, F.condition()
    if m is None:
        raise ValueError("a Score does not know its constant. Pass m.")
    worst = _worst_pair(F, x, draws, ascent, lambda f, d: inner(f, d) / inner(d, d), sign=1)
    _demand(m - worst, 1e-6, f"F is not {m:g}-monotone: found <F(u)-F(v),u-v> / |u-v|^2 = {worst:.6g}, short by")


def check_contraction(T: _Map, x: Tensor, q: float, *, draws: int = 20, ascent: int = 5) -> None:
    """Check ``|T(u) - T(v)| <= q |u - v|`` on random pairs, and on pairs made worse by gradient ascent.

    Args:
        T: the map, ``(batch, ...)`` to the same shape, differentiable.
        x: a point around which pairs are drawn.
        q: constant to check.
        draws: number of pairs, at sizes from 1e-3 to 10 times that of x.
        ascent: steps that make each pair worse.

    Raises:
        AssertionError: with the largest quotient found.

    >>> import torch
    >>> check_contraction(lambda x: 0.5 * x.conj() + 1, torch.randn(1, 8, dtype=torch.complex128), q=0.5)
    """
    worst = _worst_pair(T, x, draws, ascent, lambda f, d: norm(f) / norm(d), sign=-1)
    _demand(worst - q, 1e-6, f"T does not contract by {q:g}: found |T(u)-T(v)| / |u-v| = {worst:.6g}, too large by")


def check_implicit_gradient(solve: Callable[..., Tensor], inputs: Sequence[Tensor], *, tol: float = 1e-4) -> None:
    """Check the gradient of ``solve(*inputs)`` against central differences along random directions, for each input.

    It is meant for maps that solve an equation and attach the gradient by the implicit function theorem. `solve` must
    be accurate enough to resolve changes of the inputs by 1e-5 of their norms.

    Args:
        solve: maps the inputs to a real or complex tensor, differentiable in those that require it.
        inputs: real or complex tensors in double precision.
        tol: allowed relative difference.

    Raises:
        AssertionError: with the number of the input and the relative difference.

    >>> import torch
    >>> a = torch.tensor([2.0, 3.0], dtype=torch.float64)
    >>> check_implicit_gradient(lambda a: a.sqrt(), [a])
    """
    inputs = [t.detach().clone().requires_grad_() for t in inputs]
    generator = torch.Generator().manual_seed(0)

    def direction(like: Tensor) -> Tensor:
        noise = torch.randn(like.shape, dtype=like.dtype, device="cpu", generator=generator).to(like.device)
        return noise / torch.linalg.vector_norm(noise)

    out = solve(*inputs)
    weights = direction(out.detach())
    grads = torch.autograd.grad(_real_dot(weights, out), inputs, allow_unused=True)
    for i, (t, grad) in enumerate(zip(inputs, grads, strict=True)):
        along = direction(t.detach())
        h = 1e-5 * max(float(torch.linalg.vector_norm(t.detach())), 1e-5)
        values = []
        for sign in (1, -1):
            shifted = [u.detach() + (sign * h * along if j == i else 0) for j, u in enumerate(inputs)]
            with torch.no_grad():
                values.append(float(_real_dot(weights, solve(*shifted))))
        numeric = (values[0] - values[1]) / (2 * h)
        if grad is None:
            of_input, of_result = (float(torch.linalg.vector_norm(v.detach())) for v in (t, out))
            relative = abs(numeric) * max(of_input, 1e-5) / max(of_result, 1e-300)
            _demand(relative, tol, f"input {i} has no gradient, but the result changes with slope")
            continue
        size = max(abs(numeric), 1e-3 * float(torch.linalg.vector_norm(grad)), 1e-12)
        _demand(
            abs(float(_real_dot(grad, along)) - numeric) / size,
            tol,
            f"the gradient of input {i} is not that of the solution: relative difference to {numeric:.6g}",
        )


def _worst_pair(
    f: _Map, x: Tensor, draws: int, ascent: int, quotient: Callable[[Tensor, Tensor], Tensor], sign: int
) -> float:
    """The smallest (sign 1) or largest (sign -1) quotient of ``f(u) - f(v)`` and ``u - v`` found by the search."""
    generator = torch.Generator().manual_seed(0)
    worst = math.inf
    size = norm(x).clamp_min(1e-12).reshape(-1, *(1,) * (x.ndim - 1))

    def draw(length: float) -> Tensor:
        noise = torch.randn(x.shape, dtype=x.dtype, device="cpu", generator=generator).to(x.device)
        return length * size * noise / norm(noise).reshape(size.shape)

    for i in range(draws):
        length = 10.0 ** (-3 + 4 * i / max(draws - 1, 1))
        u = x + (draw(1.0) if i % 2 else 0)
        d = draw(length)
        for step in range(ascent + 1):
            d = d.detach().requires_grad_(step < ascent)
            with torch.set_grad_enabled(step < ascent):
                value = sign * quotient(f(u + d) - f(u), d)
            found = float(value.detach().min())
            if math.isnan(found):
                return found
            worst = min(worst, found)
            if step < ascent:
                (slope,) = torch.autograd.grad(value.sum(), d)
                length_of = norm(slope).clamp_min(torch.finfo(x.dtype).tiny).reshape(size.shape)
                moved = d.detach() - 0.3 * length * size * slope / length_of
                d = moved / norm(moved).reshape(size.shape) * length * size
    return sign * worst


def _real_dot(a: Tensor, b: Tensor) -> Tensor:
    return inner(a.reshape(1, -1), b.reshape(1, -1))[0]


def _worst(difference: Tensor, size: Tensor) -> float:
    return float((difference / size.clamp_min(torch.finfo(size.dtype).tiny)).max())


def _demand(number: float, tol: float, what: str) -> None:
    if not number <= tol:  # so that NaN fails
        raise AssertionError(f"{what} {number:.3g}, allowed {tol:g}.")
