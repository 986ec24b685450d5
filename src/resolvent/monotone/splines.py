"""Learnable nondecreasing splines: activations with slopes in (0, 1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

KNOTS = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)
"""Where the slope changes, in units of the width of the channel."""
WIDTH = 0.02
"""Width of a channel at the start of training, relative to an image of magnitude 1."""
WIDEST = 40.0
"""Largest magnitude of the logarithm of a width: an image divided by a width stays finite."""


class MonotoneSpline(nn.Module):
    """A piecewise linear function for each channel, nondecreasing with slopes in (0, 1) and ``s(0) = 0``.

    Between knots ``k_j < k_{j+1}`` (the first -inf, the last inf, one of them 0), with slopes ``a_j`` in (0, 1)::

        s(t) = w sum_j a_j [clip(t / w, k_j, k_{j+1}) - clip(0, k_j, k_{j+1})]

    where w > 0 is the width of the channel, from 4e-18 to 2e17. `tables` computes slopes and widths once per solve.

    Args:
        channels: number of functions.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        steep = [1.0 - abs(piece - len(KNOTS) / 2) for piece in range(len(KNOTS) + 1)]  # steep at 0, flat far from it
        self.logits = nn.Parameter(torch.tensor([steep] * channels))
        self.log_width = nn.Parameter(torch.full((channels,), math.log(WIDTH)))

    def tables(self, ndim: int) -> tuple[Tensor, Tensor]:
        """Slopes ``(pieces, channels, 1, ...)`` and widths ``(channels, 1, ...)`` for `ndim` spatial axes."""
        column = (-1, *(1,) * ndim)
        width = self.log_width.clamp(-WIDEST, WIDEST).exp()
        return self.logits.sigmoid().T.unflatten(1, column), width.reshape(column)


def spline(t: Tensor, slopes: Tensor, width: Tensor) -> Tensor:
    """``s(t)`` of `MonotoneSpline`, t ``(n, channels, *spatial)``."""
    t = t / width
    ends = (None, *KNOTS, None)
    out = torch.zeros_like(t)
    for a, below, above in zip(slopes, ends[:-1], ends[1:], strict=True):
        at_zero = below if below is not None and below > 0 else above if above is not None and above < 0 else 0.0
        out = torch.addcmul(out, a, t.clamp(below, above) - at_zero)
    return width * out
