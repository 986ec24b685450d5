"""An image as an object in the scanner: contrast, phase, brightness and position, at the resolution of a matrix."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from resolvent._errors import DataError
from resolvent._types import Image
from resolvent.data import smooth_phase
from resolvent.linop.fourier import fft, ifft
from resolvent.train.config import Scans
from resolvent.train.motion import moving

TRIES = 1000
"""Parts of an image that are drawn until one shows something."""


def object_image(
    image: Tensor, shape: tuple[int, ...], frames: int | None, scans: Scans, rng: np.random.Generator, what: str
) -> Image:
    """One image of `what` as an object in the scanner: ``([frame,] *shape)``, complex, magnitudes of at most about 1.

    Raises:
        DataError: see `framed`.
    """
    spatial = len(shape)
    finer = rng.uniform(1.1, 2.5) if rng.random() < 0.8 else 1.0  # then the k-space of the matrix truncates it
    grid = tuple(2 * round(n * finer / 2) if n % 2 == 0 else n + 2 * round(n * (finer - 1) / 2) for n in shape)
    if spatial == 3:
        grid = (shape[0], *grid[1:])
    magnitude = framed(image.abs(), grid, frames, scans, rng, finer, what)
    tissue = (magnitude / magnitude.max()) ** rng.uniform(*scans.contrast)
    tilt = rng.uniform(0, 0.5)
    transmit = torch.exp(tilt * torch.cos(smooth_phase(grid, seed=int(rng.integers(2**31)))))
    shading = received(grid[-2:], rng.uniform(0, scans.shading), rng)
    phase = object_phase(tissue, spatial, scans.phase, rng)
    x = toned(tissue, scans.tone, rng) * transmit * shading * torch.exp(1j * phase)
    if grid != shape:
        axes = [slice(n // 2 - s // 2, n // 2 - s // 2 + s) for n, s in zip(grid, shape, strict=True)]
        x = ifft(fft(x, spatial)[(..., *axes)], spatial) * math.sqrt(math.prod(shape) / math.prod(grid))
    return x


def toned(magnitude: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Another contrast: ``m exp(a cos(w m + p))``, which swaps the order of tissues and leaves zero at zero."""
    strength, waves, turn = rng.uniform(0, strength), rng.uniform(1, 8), rng.uniform(0, 2 * math.pi)
    return magnitude * torch.exp(strength * torch.cos(waves * magnitude + turn))


def object_phase(tissue: Tensor, spatial: int, strength: float, rng: np.random.Generator) -> Tensor:
    """Phase in radians: a smooth part over the field of view, one that depends on the tissue, and a rough one.

    They stand for the field, for fat and iron, and for nearby air: ``a_1 smooth + a_2 cos(w m + p) + a_3 rough``. Each
    weight is `strength` times a uniform number, squared for the last two, of which real phase has less.
    """
    grid = tuple(tissue.shape[-spatial:])
    smooth, own, uneven = strength * rng.uniform(0, 1, 3) ** np.array([1, 2, 2])
    waves, turn = rng.uniform(1, 8), rng.uniform(0, 2 * math.pi)
    coarse = tuple(max(2, round(n / rng.uniform(4, 24))) for n in grid)
    field = torch.from_numpy(rng.standard_normal(coarse)).float()[None, None]
    mode = "bicubic" if spatial == 2 else "trilinear"
    rough = interpolate(field, grid, mode=mode, align_corners=False)[0, 0]
    whole = smooth_phase(grid, seed=int(rng.integers(2**31)))
    return smooth * whole + own * torch.cos(waves * tissue + turn) + uneven * rough / 2


def received(shape: tuple[int, ...], exponent: float, rng: np.random.Generator) -> Tensor:
    """Brightness as a ring of coils receives it: ``sqrt(sum_c 1 / |r - r_c|^2)`` to a power, at most 1.

    Maps with ``sum_c |s_c|^2 = 1`` leave it in the image: the rim of a head can be three times as bright as its middle.
    """
    count, radius, turn = int(rng.integers(4, 13)), rng.uniform(0.9, 1.5), rng.uniform(0, 2 * math.pi)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    place = radius * np.exp(1j * (turn + 2 * np.pi * np.arange(count) / count))
    power = (1 / (np.abs(x + 1j * y - place[:, None, None]) ** 2 + 0.02)).sum(0)
    return torch.from_numpy((power / power.max()) ** (exponent / 2)).float()


def through(volume: Tensor, depth: int, rng: np.random.Generator) -> Tensor:
    """Equidistant planes through a volume, one to two of its plane distances apart, mirrored at its ends.

    So a slab of few planes can train a network for more planes. If it ended instead, the network would learn what only
    holds at an end.

    Args:
        volume: ``(z, y, x)``.
        depth: number of planes.
        rng: source of random numbers.
    """
    last = len(volume) - 1
    z = rng.uniform(0, 2 * last) + rng.uniform(1, 2) * torch.arange(depth)
    z = last - (z % max(1, 2 * last) - last).abs()
    below = z.floor().long().clamp(0, last)
    weight = (z - below)[:, None, None].to(volume.dtype)
    return (1 - weight) * volume[below] + weight * volume[(below + 1).clamp_max(last)]


def framed(
    magnitude: Tensor,
    shape: tuple[int, ...],
    frames: int | None,
    scans: Scans,
    rng: np.random.Generator,
    finer: float = 1.0,
    what: str = "the subject",
) -> Tensor:
    """Turned, mirrored, zoomed, cropped or padded to `shape`; for a series, `frames` consecutive frames.

    The grid is finer, by the factor `finer`, than the one that `scans.zoom` refers to. A part that shows less than a
    tenth of the largest magnitude is drawn again.

    A still image is set in motion if `frames` are wanted, see `moving`; for planes through a volume see `through`.

    Raises:
        DataError: no part of the image (one of `what`) shows anything.
    """
    if frames is not None and magnitude.ndim == 2:
        magnitude = moving(magnitude, frames, rng)
    for _ in range(TRIES):
        part = _part(magnitude, shape, frames, scans, rng, finer)
        if float(part.max()) > 0.1 * float(magnitude.max()):
            return part
    raise DataError(
        f"{TRIES} parts of an image of {what} show next to nothing. Leave that subject out, or raise scans.whole, the "
        "fraction of images that are shown whole."
    )


def _part(
    magnitude: Tensor, shape: tuple[int, ...], frames: int | None, scans: Scans, rng: np.random.Generator, finer: float
) -> Tensor:
    spatial = len(shape)
    t = through(magnitude, shape[0], rng) if spatial == 3 else magnitude
    t = torch.rot90(t, int(rng.integers(4)), (-2, -1))
    t = t.flip(-1) if rng.random() < 0.5 else t
    if frames is not None:
        t = t.flip(0) if rng.random() < 0.5 else t
        start = int(rng.integers(len(t)))
        t = t[(start + torch.arange(frames)) % len(t)]  # cardiac phases and breaths are periodic
    fit = min(n / s for n, s in zip(shape[-2:], t.shape[-2:], strict=True))
    zoom = fit * rng.uniform(0.8, 1.2) if rng.random() < scans.whole else finer * rng.uniform(*scans.zoom)
    size = [max(8, round(n * zoom)) for n in t.shape[-2:]]
    t = interpolate(t.reshape(-1, 1, *t.shape[-2:]), size, mode="bilinear", antialias=True).reshape(-1, *size)
    t = t.clamp_min(0) if frames is not None or spatial == 3 else t[0].clamp_min(0)
    padded = t.new_zeros((*t.shape[:1], *shape) if frames is not None else shape)
    put, take = [], []
    for have, want in zip(t.shape[-spatial:], shape, strict=True):
        corner = int(rng.integers(min(0, have - want), max(0, have - want) + 1))
        take.append(slice(max(0, corner), max(0, corner) + want))
        put.append(slice(max(0, -corner), max(0, -corner) + min(have, want)))
    padded[(..., *put)] = t[(..., *take)]
    return padded
