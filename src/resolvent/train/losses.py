"""Losses of a reconstruction: against a reference, and against samples that were held out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from resolvent._types import Image, KSpace, Mask
from resolvent.solve import norm
from resolvent.train.config import Loss


def image_loss(x: Image, reference: Image, weights: Loss) -> Tensor:
    """``w_c |x - r| / |r| + w_m ||x| - |r|| / |r| + w_s (1 - SSIM(|x|, |r|))`` of each sample, ``(batch,)``."""
    size = norm(reference)
    loss = weights.complex * norm(x - reference) / size
    if weights.magnitude:
        loss = loss + weights.magnitude * norm(x.abs() - reference.abs()) / size
    if weights.ssim:
        loss = loss + weights.ssim * (1 - similarity(x.abs(), reference.abs()))
    return loss


def similarity(x: Tensor, reference: Tensor) -> Tensor:
    """SSIM of magnitudes with a uniform 7 x 7 window and the largest reference as data range, ``(batch,)``.

    Differentiable; the same numbers as `resolvent.data.ssim`, which is for scores.

    Source: Wang et al., IEEE TIP 13:600 (2004).
    """
    peak = reference.flatten(1).amax(1).reshape(-1, *(1,) * (reference.ndim - 1))
    a, b = ((t / peak).reshape(-1, 1, *t.shape[-2:]) for t in (x, reference))
    mean = lambda t: avg_pool2d(t, 7, stride=1)  # noqa: E731
    unbiased = 49 / 48
    ma, mb = mean(a), mean(b)
    va, vb, vab = (unbiased * (mean(p) - q) for p, q in ((a * a, ma * ma), (b * b, mb * mb), (a * b, ma * mb)))
    c1, c2 = 0.01**2, 0.03**2
    values = (2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return values.reshape(len(x), -1).mean(1)


def split(mask: Mask, fraction: float, seed: int, center: int = 4) -> tuple[Mask, Mask]:
    """The measured samples in two disjoint parts: those given to the reconstruction, and those held out.

    Samples are held out at random with a Gaussian density around the centre, but for the `center` x `center` middle.

    Args:
        mask: ``(batch, *lead, *spatial)``.
        fraction: of the samples of each scan, to be held out.
        seed: fixes the split.
        center: number of samples along each of the last two axes that are never held out.

    Source: B. Yaman et al., "Self-supervised learning of physics-guided reconstruction neural networks without fully
    sampled reference data", MRM 84:3172-3191 (2020).
    """
    rng = np.random.default_rng(seed)
    ny, nx = mask.shape[-2:]
    y, x = np.meshgrid(np.arange(ny) - ny // 2, np.arange(nx) - nx // 2, indexing="ij")
    odds = np.exp(-2.0 * ((y / ny) ** 2 + (x / nx) ** 2) * 4)
    odds[(-center <= 2 * y) & (2 * y < center) & (-center <= 2 * x) & (2 * x < center)] = 0.0
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
    """``|p - y| / |y| + |p - y|_1 / |y|_1`` over the samples held out, of each scan; elsewhere both must be zero.

    Source: Yaman et al. (2020), their normalised l1-l2 loss.
    """
    difference = (predicted - y).flatten(1)
    y = y.flatten(1)
    return norm(difference) / norm(y) + difference.abs().sum(1) / y.abs().sum(1)
