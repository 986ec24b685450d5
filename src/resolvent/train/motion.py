"""Still images set in motion: series of frames for training, since real ones are rare."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

_PARTS = 3  # of the image that move, each in its own way
_SHIFT, _WIDEN = 0.3, 0.4  # largest shift, of the size of the part, and widening: a breath, a heart
_CHANGE = 0.8  # largest change of intensity: blood that flows in, contrast agent that arrives


def moving(image: Tensor, frames: int, rng: np.random.Generator) -> Tensor:
    """A periodic series of one image, ``x_t(p) = (1 + sum_j b_j w_j(p) s_j(t)) x(p + sum_j d_j(p) s_j(t))``.

    Each part j has a Gaussian window w_j of random place and size, outside of which the image stays as it is; a
    displacement ``d_j = w_j (a_j + e_j (p - p_j))``, a shift and a widening about the centre p_j; a change of
    intensity b_j; and a smooth time course s_j, a sine of one to two cycles and its first harmonic.

    Args:
        image: ``(y, x)``, not negative.
        frames: number of frames in the period.
        rng: source of random numbers.

    Returns:
        ``(frames, y, x)``.
    """
    ny, nx = image.shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, ny), torch.linspace(-1, 1, nx), indexing="ij")
    places = torch.stack([x, y], -1)  # in the order of grid_sample
    t = 2 * math.pi * torch.arange(frames) / frames
    shift, gain = torch.zeros(frames, ny, nx, 2), torch.ones(frames, ny, nx)
    for _ in range(_PARTS):
        centre, width = torch.tensor(rng.uniform(-0.5, 0.5, 2)).float(), rng.uniform(0.1, 0.5)
        away = places - centre
        window = torch.exp(-away.square().sum(-1) / (2 * width**2))
        angle = int(rng.integers(1, 3)) * t + rng.uniform(0, 2 * math.pi)
        course = (torch.sin(angle) + 0.3 * torch.sin(2 * angle + rng.uniform(0, 2 * math.pi))) / 1.3
        translate = width * torch.tensor(rng.uniform(-_SHIFT, _SHIFT, 2)).float()
        widen = rng.uniform(-_WIDEN, _WIDEN)
        shift = shift + course.reshape(-1, 1, 1, 1) * window[..., None] * (translate + widen * away)
        gain = gain + rng.uniform(-_CHANGE, _CHANGE) / _PARTS * course.reshape(-1, 1, 1) * window
    stack = image.expand(frames, 1, ny, nx)
    return gain * grid_sample(stack, places + shift, mode="bilinear", padding_mode="zeros", align_corners=True)[:, 0]
