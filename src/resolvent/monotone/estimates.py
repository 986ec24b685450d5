"""Sampled estimates of the Lipschitz constant of a network, and a penalty built on them: never proofs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LipschitzEstimate:
    """The worst pair that a search found.

    Attributes:
        value: ``|H(u) - H(v)| / |u - v|``, ``(batch,)``: a LOWER bound of the Lipschitz constant, apart from rounding;
            infinite where H left the finite numbers.
        u: the centre of the search, ``(batch, *lead, *spatial)``.
        v: the other point of the pair.
    """

    value: Tensor
    u: Tensor
    v: Tensor


def local_lipschitz(
    H: Operator, u: Tensor, *, radius: float = 0.1, steps: int = 15, starts: int = 2, seed: int = 0
) -> LipschitzEstimate:
    """Search ``l = max_v |H(u) - H(v)| / |u - v|`` over the ball ``|v - u| <= radius |u|``, for each sample.

    Gradient ascent on ``log l`` in ``d = v - u``, with step ``|d|^2``, after which d is scaled back to its initial
    length: ``d <- |d| J_v^H (H(v) - H(u))``, normalised, which for a linear H is the power iteration of ``H^H H``. The
    initial directions are random; start k of K keeps the length ``radius |u| / 2^k``. The worst of all visited points
    is kept. Nothing follows for pairs that were not tried, near u or elsewhere: there is no guarantee.

    The estimate has no units and depends on the direction of u and on its size only through H. Rounding: differences
    of H have errors of about ``eps |H(u)|``, so in single precision a radius below 1e-3 says little.

    Args:
        H: the network, complex images ``(batch, *lead, *spatial)`` to the same, each sample independent.
        u: the centre of the search.
        radius: radius of the ball, relative to ``|u|``; absolute where u is zero.
        steps: gradient steps of each start, each an evaluation of H and a product with the adjoint of its Jacobian.
        starts: number of starts.
        seed: seed of the initial directions.

    Source: A. Pramanik, M. B. Zimmerman, M. Jacob, IEEE TCI 9:260-275 (2023), which also searches by gradient ascent.

    >>> import torch
    >>> u = torch.ones(1, 4, 4, dtype=torch.complex64)
    >>> round(local_lipschitz(lambda x: 0.5 * x, u).value.item(), 4)
    0.5
    """
    u = u.detach()
    with torch.no_grad():
        base = H(u)
    size = _norm(u)
    size = torch.where(size > 0, size, torch.ones_like(size))
    generator = torch.Generator().manual_seed(seed)
    best, worst_v = torch.full_like(size, -math.inf), u.clone()
    for start in range(starts):
        length = radius * size / 2**start
        d = torch.randn(u.shape, dtype=u.dtype, device="cpu", generator=generator).to(u.device)
        d = _along(length / _norm(d), u) * d
        for step in range(steps + 1):
            v = (u + d).requires_grad_()
            with torch.enable_grad():
                change = H(v) - base
            quotient = _norm(change.detach()) / _norm(v.detach() - u)
            quotient = torch.where(torch.isnan(quotient), math.inf, quotient)
            better = quotient > best
            best = torch.where(better, quotient, best)
            worst_v = torch.where(_along(better, u), v.detach(), worst_v)
            if step == steps:
                break
            (ascent,) = torch.autograd.grad(change, v, change.detach())
            slope = _norm(ascent)
            moves = (slope > 0) & torch.isfinite(slope)
            ascent = ascent * _along(length / torch.where(moves, slope, torch.ones_like(slope)), u)
            d = torch.where(_along(moves, u), ascent, d)
    return LipschitzEstimate(best, u, worst_v)


def log_barrier(value: Tensor, t: float, e: float = 0.1) -> Tensor:
    """``-log(t - l)`` where ``l < t - e``, else its tangent there, ``-log(e) + (l - t + e) / e``; elementwise.

    Continuous with its first derivative, ``1 / e`` at ``l = t - e``, finite for every l, and convex: it keeps l below
    t, and pulls it back where it is above.

    Args:
        value: l, which is to stay below t.
        t: the limit.
        e: distance from the limit at which the tangent takes over, positive.

    Source: the log barrier of A. Pramanik, M. B. Zimmerman, M. Jacob, IEEE TCI 9:260-275 (2023), with the extension
    of H. Kervadec et al., arXiv:1904.04205 (2019).

    >>> import torch
    >>> [round(v, 3) for v in log_barrier(torch.tensor([0.4, 0.8, 1.9]), t=0.9, e=0.1).tolist()]
    [0.693, 2.303, 13.303]
    """
    slack = t - value
    return torch.where(slack > e, -slack.clamp_min(e).log(), -math.log(e) + (e - slack) / e)


def lipschitz_penalty(
    H: Operator,
    points: Sequence[Tensor],
    t: float,
    *,
    e: float = 0.1,
    steps: int = 5,
    seed: int = 0,
) -> Tensor:
    """The mean of ``log_barrier(l(u), t)`` over the samples u of all `points`, l the estimate of `local_lipschitz`.

    Differentiable once in the weights of H. The pair (u, v) is searched without a graph, then the quotient at that
    pair is evaluated once with a graph. By the envelope theorem this gives the gradient of l where v maximises it, and
    in any case the exact gradient of the quotient at a fixed pair. A small penalty in training proves nothing, least
    of all at points unlike those given.

    Args:
        H: the network.
        points: centres of the search: solutions, iterates, noise; each ``(batch, *lead, *spatial)``. No gradient
            reaches them.
        t: the limit of the Lipschitz constant, ``1 - m``.
        e: see `log_barrier`.
        steps: see `local_lipschitz`.
        seed: see `local_lipschitz`; give each training step its own.

    Source: A. Pramanik, M. B. Zimmerman, M. Jacob, IEEE TCI 9:260-275 (2023).
    """
    terms = []
    for u in points:
        pair = local_lipschitz(H, u, steps=steps, starts=1, seed=seed)
        quotient = _norm(H(pair.u) - H(pair.v)) / _norm(pair.u - pair.v)
        terms.append(log_barrier(quotient, t, e))
    return torch.cat(terms).mean()


def _norm(x: Tensor) -> Tensor:
    """Norm of each sample, ``(batch,)``."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


def _along(v: Tensor, like: Tensor) -> Tensor:
    """One number for each sample, reshaped to multiply ``(batch, ...)``."""
    return v.reshape(-1, *(1,) * (like.ndim - 1))
