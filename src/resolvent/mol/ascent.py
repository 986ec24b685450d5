"""Ascent on a sphere, the search of an attack. It finds local maxima, so its results are lower bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resolvent.solve import along, inner, norm

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps points of unit norm ``(n, ...)`` to the values to maximise, ``(n,)``, and their gradients ``(n, ...)``."""

DECAY = 0.999
"""Decay of the second moment in Adam."""
RATE = 0.5
"""First step of Adam, relative to the root mean square of the elements."""


@dataclass(frozen=True)
class Ascent:
    """The best point that was evaluated, for each of n independent problems.

    Attributes:
        point: unit norm, ``(n, ...)``.
        value: the objective at that point, ``(n,)``.
        history: the best value after each evaluation, ``(steps, n)``.
    """

    point: Tensor
    value: Tensor
    history: Tensor


def pgd(objective: Objective, start: Tensor, steps: int) -> Ascent:
    """Projected gradient ascent with the largest step that helps.

    From the best point u with gradient g, the next point is the projection of ``(1 - s) u + s g / |g|``. The initial
    s = 1 is a projected gradient step of infinite length: for ``|R u|`` with a linear R it is the power method of
    ``R^H R``, and for a convex objective it never descends. Where the value did not grow, s is halved and the step is
    repeated from the best point; otherwise s is doubled, up to 1.

    Args:
        objective: what is maximised, and its gradient.
        start: points of unit norm ``(n, ...)``.
        steps: evaluations of `objective`, at least 1.

    Source: M. Journee, Y. Nesterov, P. Richtarik, R. Sepulchre, JMLR 11:517-553 (2010), generalised power method.
    """
    best, uphill = start, start
    top = norm(start).new_full((start.shape[0],), -torch.inf)
    share = torch.ones_like(top)
    u, rows = start, []
    for _ in range(steps):
        value, gradient = objective(u)
        better = value > top
        best = torch.where(along(better, u), u, best)
        uphill = torch.where(along(better, u), _unit(gradient, u), uphill)
        top = torch.where(better, value, top)
        share = torch.where(better, (2 * share).clamp_max(1), share / 2)
        rows.append(top)
        s = along(share, u)
        u = _unit((1 - s) * best + s * uphill, best)
    return Ascent(best, top, torch.stack(rows))


def adam(objective: Objective, start: Tensor, steps: int) -> Ascent:
    """Adam, projected onto the sphere after every step; the step length falls linearly to zero.

    The second moment is that of the modulus of each complex element, so the phase of the data does not matter.

    Args:
        objective: what is maximised, and its gradient.
        start: points of unit norm ``(n, ...)``; elements that are zero and have no gradient stay zero.
        steps: evaluations of `objective`, at least 1.

    Source: D. P. Kingma, J. Ba, ICLR 2015.
    """
    best, top = start, norm(start).new_full((start.shape[0],), -torch.inf)
    size = along((start != 0).flatten(1).sum(1).clamp_min(1).to(top.dtype).rsqrt(), start)
    first, second = torch.zeros_like(start), torch.zeros_like(start.abs())
    u, rows = start, []
    for step in range(steps):
        value, gradient = objective(u)
        better = value > top
        best = torch.where(along(better, u), u, best)
        top = torch.where(better, value, top)
        rows.append(top)
        gradient = _unit(gradient, torch.zeros_like(u))
        gradient = gradient - along(inner(gradient, u), u) * u
        first = 0.9 * first + 0.1 * gradient
        second = DECAY * second + (1 - DECAY) * gradient.abs().square()
        slope = (first / (1 - 0.9 ** (step + 1))) / ((second / (1 - DECAY ** (step + 1))).sqrt() + 1e-12)
        u = _unit(u + RATE * (1 - step / steps) * size * slope, best)
    return Ascent(best, top, torch.stack(rows))


METHODS: dict[str, Callable[[Objective, Tensor, int], Ascent]] = {"pgd": pgd, "adam": adam}
"""The searches by name."""


def _unit(v: Tensor, otherwise: Tensor) -> Tensor:
    """``v / |v|`` of each sample; `otherwise` where v is zero or not finite."""
    size = norm(v)
    sound = torch.isfinite(size) & (size > 0)
    return torch.where(along(sound, v), v / along(torch.where(sound, size, 1), v), otherwise)
