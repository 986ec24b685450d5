"""The orthonormal periodic wavelet transform with the four-tap Daubechies filter, along the last axes of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LOW = tuple(v / (4 * math.sqrt(2)) for v in (1 + 3**0.5, 3 + 3**0.5, 3 - 3**0.5, 1 - 3**0.5))
"""The scaling filter h: ``sum_j h_j^2 = 1``, ``sum_j h_j h_(j+2) = 0``."""
HIGH = tuple((-1) ** j * LOW[3 - j] for j in range(4))
"""The wavelet filter, with two vanishing moments."""


def analyse(x: Tensor, levels: tuple[int, ...]) -> Tensor:
    """The coefficients W x, in a pyramid layout: the coarse image in the first corner, details around it.

    Args:
        x: real or complex; axis i of the last ``len(levels)`` axes is a multiple of ``2**levels[i]``.
        levels: how often the coarse image is halved along each of those axes.

    Source: I. Daubechies, Comm. Pure Appl. Math. 41:909-996 (1988); S. Mallat, IEEE PAMI 11:674-693 (1989).
    """
    if not any(levels):
        return x
    for axis in _split(levels):
        even, odd = x.unflatten(axis, (-1, 2)).unbind(axis)
        taps = (even, odd, even.roll(-1, axis), odd.roll(-1, axis))
        x = torch.cat([_mixed(LOW, taps), _mixed(HIGH, taps)], axis)
    coefficients = x.clone()
    _coarse(coefficients, levels).copy_(analyse(_coarse(x, levels), _next(levels)))
    return coefficients


def synthesise(coefficients: Tensor, levels: tuple[int, ...]) -> Tensor:
    """``W^T``, the inverse of `analyse` with the same levels."""
    if not any(levels):
        return coefficients
    x = coefficients.clone()
    _coarse(x, levels).copy_(synthesise(_coarse(coefficients, levels), _next(levels)))
    for axis in _split(levels):
        bands = x.chunk(2, axis)
        taps = [_mixed(pair, bands) for pair in zip(LOW, HIGH, strict=True)]
        even, odd = taps[0] + taps[2].roll(1, axis), taps[1] + taps[3].roll(1, axis)
        x = torch.stack([even, odd], axis).flatten(axis - 1, axis)
    return x


def _split(levels: tuple[int, ...]) -> list[int]:
    """The axes that this level halves, counted from the last."""
    return [i - len(levels) for i, level in enumerate(levels) if level]


def _next(levels: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(0, level - 1) for level in levels)


def _mixed(weights: Sequence[float], parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([w * part for w, part in zip(weights, parts, strict=True)]).sum(0)


def _coarse(x: Tensor, levels: tuple[int, ...]) -> Tensor:
    """The first half of each axis that this level halves: the coarse image, as a view."""
    sizes = x.shape[-len(levels) :]
    return x[(..., *(slice(n // 2 if level else n) for n, level in zip(sizes, levels, strict=True)))]
