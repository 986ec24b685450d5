"""The noise level of k-space, estimated from its corners when no noise scan says it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resolvent._types import KSpace


def estimate_noise(kspace: KSpace, ndim: int = 2) -> Tensor:
    """Standard deviation of the complex noise of one k-space sample, ``E|n|^2 = sigma^2``; one a scan, ``(batch,)``.

    Of the measured samples (those that are not zero in all coils) the quarter farthest from the centre of k-space is
    taken, and for each coil ``sigma^2 = median |y|^2 / ln 2``, the median of the exponential law that noise power
    follows; the coils are averaged. An estimate, biased upwards where the corners still hold signal (coarse matrices,
    sharp edges): then it is the level below which nothing can be told from noise by this means.

    Args:
        kspace: ``(batch, coil, *lead, *spatial)``, zero where not measured.
        ndim: number of k-space axes, the last ones.
    """
    spatial = kspace.shape[-ndim:]
    radius = torch.zeros(spatial, device=kspace.device)
    for axis, size in enumerate(spatial):
        line = (torch.arange(size, device=kspace.device) - size // 2) / size
        radius = radius + line.reshape(-1, *(1,) * (ndim - 1 - axis)) ** 2
    levels = []
    for sample in kspace:  # samples differ in what was measured
        measured = (sample != 0).any(0)
        distance = radius.expand(measured.shape)[measured]
        outer = distance >= torch.quantile(distance[:: max(1, distance.numel() // 100_000)], 0.75)
        values = sample[:, measured][:, outer]
        power = values.real**2 + values.imag**2
        levels.append((power.median(1).values / math.log(2)).mean().sqrt())
    return torch.stack(levels)
