"""The loss of a reconstruction against its reference."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d

from resolvent._types import Image
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
