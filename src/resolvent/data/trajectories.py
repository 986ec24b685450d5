"""Trajectories: the places of the samples of radial and spiral scans in k-space."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resolvent._errors import DataError
from resolvent.data.masks import GOLDEN_ANGLE


def radial(spokes: int, shape: tuple[int, ...], *, oversampling: int = 2, first: int = 0) -> Tensor:
    """Spokes through the centre of k-space at golden angles; in 3-D from pole to pole of a sphere.

    Args:
        spokes: number of spokes.
        shape: matrix ``(y, x)`` or ``(z, y, x)``; a spoke reaches ``N / 2`` on every axis.
        oversampling: samples of a spoke divided by the largest N.
        first: number of the first spoke, so that a frame of a series can continue where the last one ended.

    Returns:
        float64 ``(spoke, sample, 2)``, in 3-D ``(1, spoke, sample, 3)``, in cycles per field of view.

    Raises:
        DataError: no spokes, or a shape that is not 2-D or 3-D.

    Source: S. Winkelmann et al., IEEE TMI 26:68-76 (2007); in 3-D R. W. Chan et al., MRM 61:354-363 (2009).

    >>> radial(5, (8, 8)).shape
    torch.Size([5, 16, 2])
    """
    if spokes < 1 or len(shape) not in (2, 3):
        raise DataError(f"{spokes} spokes on a matrix {tuple(shape)} are no scan. Pass spokes and (y, x) or (z, y, x).")
    count = oversampling * max(shape)
    along = (torch.arange(count, dtype=torch.float64) - count // 2) / count  # cycles per pixel
    number = torch.arange(first, first + spokes, dtype=torch.float64)
    if len(shape) == 2:
        angle = number * GOLDEN_ANGLE
        directions = torch.stack([angle.sin(), angle.cos()], -1)
    else:
        height, turn = (2 * (number * _GOLDEN_MEANS[0] % 1) - 1), 2 * math.pi * number * _GOLDEN_MEANS[1]
        flat = (1 - height**2).sqrt()
        directions = torch.stack([height, flat * turn.sin(), flat * turn.cos()], -1)
    spoke = along[:, None] * directions[:, None] * torch.tensor(shape)
    return spoke if len(shape) == 2 else spoke[None]


def spiral(arms: int, shape: tuple[int, int], *, turns: float | None = None, samples: int | None = None) -> Tensor:
    """Archimedean spirals ``r exp(i 2 pi (turns r + arm / arms))`` from the centre to the border, r from 0 to 1.

    Args:
        arms: number of arms.
        shape: ``(y, x)``.
        turns: number of turns of an arm; by default neighbours are one cycle per field of view apart.
        samples: number of samples of an arm, evenly spaced along it; by default they are half a cycle apart.

    Returns:
        float64 ``(arm, sample, 2)``, in cycles per field of view.

    Raises:
        DataError: no arms.

    >>> spiral(2, (8, 8)).shape
    torch.Size([2, 53, 2])
    """
    if arms < 1:
        raise DataError(f"{arms} arms are no scan. Pass at least 1.")
    n = max(shape)
    turns = n / 2 / arms if turns is None else turns
    fine = torch.linspace(0, 1, 20_000, dtype=torch.float64)
    length = torch.cumulative_trapezoid(n / 2 * (1 + (2 * math.pi * turns * fine) ** 2).sqrt(), fine)
    count = math.ceil(2 * float(length[-1])) + 1 if samples is None else samples
    even = torch.linspace(0, float(length[-1]), count, dtype=torch.float64)
    r = fine[1:][torch.searchsorted(length, even).clamp(max=len(length) - 1)]
    angle = 2 * math.pi * (turns * r + torch.arange(arms, dtype=torch.float64)[:, None] / arms)
    return 0.5 * torch.stack([r * angle.sin(), r * angle.cos()], -1) * torch.tensor(shape)


_GOLDEN_MEANS = (0.4656, 0.6823)
"""Roots of the two-dimensional golden mean."""
