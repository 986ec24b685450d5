"""Held-out samples of a scan: a reconstruction is scored, or trained, by how well it predicts them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from resolvent._types import KSpace, Mask
from resolvent.solve import norm

CENTER = 4
"""Width of the centre of k-space, in samples along each of the last two axes, that is never held out."""


def split(mask: Mask, fraction: float, seed: int) -> tuple[Mask, Mask]:
    """Split the measured samples into two disjoint masks: those for the reconstruction, and those held out.

    Samples are held out at random with a Gaussian density around the centre, except for the `CENTER` x `CENTER` centre.

    Args:
        mask: ``(batch, *lead, *spatial)``.
        fraction: fraction of the samples of each scan to hold out.
        seed: fixes the split.

    Source: B. Yaman et al., "Self-supervised learning of physics-guided reconstruction neural networks without fully
    sampled reference data", MRM 84:3172-3191 (2020).
    """
    rng = np.random.default_rng(seed)
    ny, nx = mask.shape[-2:]
    y, x = np.meshgrid(np.arange(ny) - ny // 2, np.arange(nx) - nx // 2, indexing="ij")
    odds = np.exp(-2.0 * ((y / ny) ** 2 + (x / nx) ** 2) * 4)
    odds[(-CENTER <= 2 * y) & (2 * y < CENTER) & (-CENTER <= 2 * x) & (2 * x < CENTER)] = 0.0
    measured = (mask != 0).cpu().numpy()
    held = np.zeros_like(measured)
    for sample, out in zip(measured, held, strict=True):
        candidates = np.flatnonzero(sample & (odds > 0))
        count = round(fraction * int(sample.sum()))
        race = rng.standard_exponential(candidates.size) / np.broadcast_to(odds, sample.shape).ravel()[candidates]
        out.ravel()[candidates[np.argsort(race)[:count]]] = True
    out = torch.from_numpy(held).to(mask)
    return mask * (1 - out), mask * out


def held_out_loss(predicted: KSpace, y: KSpace) -> Tensor:
    """``|p - y| / |y| + |p - y|_1 / |y|_1`` over the held-out samples of each scan; elsewhere both must be zero.

    Source: Yaman et al. (2020), their normalised l1-l2 loss.
    """
    difference = (predicted - y).flatten(1)
    y = y.flatten(1)
    return norm(difference) / norm(y) + difference.abs().sum(1) / y.abs().sum(1)
