"""The scale of coil maps, which is arbitrary."""

from __future__ import annotations

import torch
from torch import Tensor

from resolvent._types import Maps


def magnitude_of(maps: Maps) -> Tensor:
    """The power of two nearest to the largest root sum of squares of coil maps, ``(batch,)``: 1 for most maps.

    It is 1 where all maps of a sample are zero.

    >>> import torch
    >>> magnitude_of(torch.full((1, 4, 2, 2), 3.0 + 0j))
    tensor([8.])
    """
    peak = maps.abs().flatten(1).amax(1)
    unit = peak.reshape(-1, *(1,) * (maps.ndim - 2))  # squares of 1e-30 are 0
    squares = torch.zeros_like(maps[:, 0].real)
    for coil in maps.unbind(1):  # one at a time: maps of a volume are large
        squares += (coil / unit).abs().square()
    exponent = (peak.log2() + squares.flatten(1).amax(1).log2() / 2).round()
    return torch.where(peak > 0, 2**exponent, 1.0)
