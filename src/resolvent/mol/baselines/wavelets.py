"""The orthonormal periodic wavelet transform with Daubechies' filter of four taps, along the last axes of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LOW = tuple(v / (4 * math.sqrt(2)) for v in (1 + 3**0.5, 3 + 3**0.5, 3 - 3**0.5, 1 - 3**0.5))
"""The scaling filter h: ``sum_j h_j^2 = 1``, ``sum_j h_j h_(j+2) = 0``."""
HIGH = tuple((-1) ** j * LOW[3 - j] for j in range(4))
"""The wavelet filter, with two vanishing moments."""


def analyse(x: Tensor, levels: int, ndim: int) -> Tensor:
    """The coefficients W x, in the layout of a pyramid: the coarse image in the first corner, details around it.

    Args:
        x: real or complex; its last `ndim` axes are multiples of ``2**levels``.
        levels: how often the coarse image is split.
        ndim: number of axes transformed.

    Source: I. Daubechies, Comm. Pure Appl. Math. 41:909-996 (1988); S. Mallat, IEEE PAMI 11:674-693 (1989).
    """
    if not levels:
        return x
    for axis in range(-ndim, 0):
        even, odd = x.unflatten(axis, (-1, 2)).unbind(axis)
        taps = (even, odd, even.roll(-1, axis), odd.roll(-1, axis))
        x = torch.cat([_mixed(LOW, taps), _mixed(HIGH, taps)], axis)
    coefficients = x.clone()
    _coarse(coefficients, ndim).copy_(analyse(_coarse(x, ndim), levels - 1, ndim))
    return coefficients


def synthesise(coefficients: Tensor, levels: int, ndim: int) -> Tensor:
    """``W^T``, the inverse of `analyse` with the same numbers."""
    if not levels:
        return coefficients
    x = coefficients.clone()
    _coarse(x, ndim).copy_(synthesise(_coarse(coefficients, ndim), levels - 1, ndim))
    for axis in range(-ndim, 0):
        bands = x.chunk(2, axis)
        taps = [_mixed(pair, bands) for pair in zip(LOW, HIGH, strict=True)]
        even, odd = taps[0] + taps[2].roll(1, axis), taps[1] + taps[3].roll(1, axis)
        x = torch.stack([even, odd], axis).flatten(axis - 1, axis)
    return x


def _mixed(weights: Sequence[float], parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([w * part for w, part in zip(weights, parts, strict=True)]).sum(0)


def _coarse(x: Tensor, ndim: int) -> Tensor:
    """The first half of each of the last axes: the coarse image, as a view."""
    return x[(..., *(slice(size // 2) for size in x.shape[-ndim:]))]
