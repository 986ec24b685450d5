"""Simulated training scans: a batch depends only on the images, the settings, a seed and its number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d, max_pool3d

from resolvent._types import Image, Maps, Mask
from resolvent.data import Scan, Subject, birdcage_maps, make_mask, undersample
from resolvent.data.simulate import OBJECT, noise_at
from resolvent.linop import SENSE, LinearOperator, estimate_noise
from resolvent.linop.fourier import fft, ifft
from resolvent.train.config import Scans
from resolvent.train.objects import object_image

_MAPS, _NEAR = 0.34, 0.6  # fraction of scans with measured maps, and with maps that are zero away from the object


class Shared(NamedTuple):
    """What the scans of a batch have in common.

    Attributes:
        shape: of the image that is drawn, ``(y, x)`` or ``(z, y, x)``.
        coils: their number.
        frames: of a series, else None.
        readout: whether the planes of a volume lie along the readout: z is then its last axis.
    """

    shape: tuple[int, ...]
    coils: int
    frames: int | None = None
    readout: bool = False


class Batch(NamedTuple):
    """Scans of one matrix and coil count.

    Attributes:
        y: k-space ``(batch, coil, *lead, *spatial)`` or pictures ``(batch, y, x)``, zero where not measured.
        A: the physics that the reconstruction is given.
        mask: 1 where measured; with the axes of y, that of the coils of length 1.
        noise: standard deviation of a sample, as given to the reconstruction, ``(batch,)``.
        reference: the image; for a measured scan without one, zeros.
        subject: number of the subject, ``(batch,)``.
    """

    y: Tensor
    A: LinearOperator
    mask: Mask
    noise: Tensor
    reference: Image
    subject: Tensor


def draw_batch(
    subjects: Sequence[Subject],
    scans: Scans,
    *,
    seed: int,
    number: int,
    size: int,
    measured_maps: Sequence[Tensor] = (),
    denoise: bool = False,
) -> Batch:
    """Batch `number` of the stream `seed`: matrix and coil count are drawn once, everything else for each scan.

    ``y = M (F S x + n)``, x an image that was turned, zoomed, cropped, given another contrast, a smooth phase and
    shading; four of five are made on a finer grid, whose k-space is cut off at this matrix. The reconstruction is given
    maps ``s'`` near the true ones. The reference is made with these from the full data: ``sum_c conj(s'_c) s_c x``.

    Args:
        subjects: a batch is from one measured scan, or from images, a new subject for each scan; see `draw_subject`.
        scans: the settings.
        seed: seed of the stream.
        number: number of the batch.
        size: scans in the batch.
        measured_maps: each ``(coil, y, x)``.
        denoise: full sampling and at most 25 dB, so that only noise is left to remove.

    Raises:
        DataError: no part of an image shows anything, see `framed`.
    """
    rng = np.random.default_rng([seed, number])
    if any(subject.scan is not None for subject in subjects):
        scan = subjects[draw_subject(subjects, scans, None, rng)].scan
        if scan is not None:
            return draw_measured(scan, scans, rng, size)
        subjects = [subject for subject in subjects if subject.images is not None]
    else:
        rng.integers(len(subjects))  # so that images give the scans that packaged models were trained on
    shape = tuple(int(n) for n in rng.choice(quick_sizes(*scans.matrix), 2))
    depth = int(rng.integers(scans.depth[0], scans.depth[1] + 1))
    n_coils = int(rng.choice(scans.coils))
    frames, readout = (depth if scans.spatial == "2d+t" else None), False
    if scans.spatial == "3d":  # planes are few; where they lie along the readout, both encoded axes are long
        shape, readout = (depth, *shape), rng.random() < 0.5
    shared, maps = Shared(shape, n_coils, frames, readout), measured_maps if len(shape) == 2 else ()
    drawn = [draw_scan(subjects, scans, shared, rng, measured_maps=maps, denoise=denoise) for _ in range(size)]
    y, maps, mask, noise, reference, which = map(torch.stack, zip(*drawn, strict=True))
    A = SENSE(maps, mask, ndim=len(shape))
    return Batch(y, A, mask.unsqueeze(1), noise, reference, which)


def quick_sizes(low: int, high: int) -> list[int]:
    """Even numbers from `low` to `high` with no prime factor above 5, whose Fourier transforms are fast."""
    smooth = {2**a * 3**b * 5**c for a in range(1, 12) for b in range(7) for c in range(5)}
    return sorted(n for n in smooth if low <= n <= high) or [high]


def draw_measured(scan: Scan, scans: Scans, rng: np.random.Generator, size: int) -> Batch:
    """Slices of one measured scan: undersampled anew if it is complete, else as they were measured, reference zero.

    Maps and noise level that the file does not give are estimated from the samples that are kept, as they are for a
    user, and the reference is made with those maps, see `undersample`.

    Args:
        scan: normalised.
        scans: the settings, of which only masks and accelerations are used.
        rng: source of random numbers.
        size: slices in the batch, all equally likely.
    """
    drawn = [scan.entry(int(number)) for number in rng.integers(len(scan.kspace), size=size)]
    if scan.complete:
        drawn = [undersample(one, *draw_sampling(scans, rng)) for one in drawn]
    else:
        drawn = [one.replace(reference=torch.zeros_like(one.kspace[:, 0])) for one in drawn]
    parts = zip(*((s.kspace, s.maps, s.mask, s.reference) for s in drawn), strict=True)
    y, maps, mask, reference = map(torch.cat, parts)
    noise = estimate_noise(y, scan.ndim) if scan.noise is None else torch.full((size,), scan.noise)
    A = SENSE(maps, mask, ndim=scan.ndim)
    return Batch(y, A, mask.unsqueeze(1), noise, reference, torch.zeros(size, dtype=torch.int64))


def draw_scan(
    subjects: Sequence[Subject],
    scans: Scans,
    shared: Shared,
    rng: np.random.Generator,
    *,
    measured_maps: Sequence[Tensor] = (),
    denoise: bool = False,
) -> tuple[Tensor, ...]:
    """One scan of a batch, see `draw_batch`: k-space, maps, mask, noise level, reference and number of the subject."""
    shape, n_coils, frames, readout = shared
    spatial = len(shape)
    which = draw_subject(subjects, scans, frames, rng)
    subject = subjects[which]
    images, what = subject.images, f"{subject.name} in {subject.source}"
    assert images is not None
    seed = int(rng.integers(2**31))
    x = object_image(images[int(rng.integers(len(images)))], shape, frames, scans, rng, what)
    if readout:
        x, shape = x.movedim(0, -1), (*shape[1:], shape[0])
    true = coil_maps(n_coils, shape, rng, measured_maps)
    clean, told = fft(true[:, None] * x if frames is not None else true * x, spatial), true
    if rng.random() < scans.calibrated:
        told = calibrated(clean if frames is None else clean.mean(1), true, rng)
    elif scans.map_error and rng.random() < 0.5:
        told = unit(true + scans.map_error * rng.random() ** 2 * birdcage_maps(n_coils, shape, seed=seed))
    if rng.random() < _NEAR:  # as estimated maps are: zero where there is no signal
        told = told * near(x, spatial)
    if frames is not None:
        true, told = true[:, None], told[:, None]
    mask = draw_mask(scans, rng, shape, frames)
    mask = torch.ones_like(mask) if denoise else mask
    decibels = rng.uniform(*scans.snr_db)
    sigma = noise_at(min(decibels, 25.0) if denoise else decibels, x.abs())
    if not denoise and rng.random() < scans.clean:
        sigma = 0.0
    generator = torch.Generator().manual_seed(seed)
    y = mask * (clean + sigma * torch.randn(clean.shape, dtype=clean.dtype, generator=generator))
    noise = sigma * rng.uniform(1 - scans.noise_error, 1 + scans.noise_error)
    if rng.random() < scans.estimated:  # as for a scan without a noise scan
        noise = float(estimate_noise(y[None], spatial))
    reference = (told.conj() * true).sum(0) * x
    return y, told, mask, torch.tensor(noise, dtype=torch.float32), reference, torch.tensor(which)


def draw_subject(subjects: Sequence[Subject], scans: Scans, frames: int | None, rng: np.random.Generator) -> int:
    """Number of a random subject, files equally likely; for series, with still images in a fraction `scans.motion`."""
    chosen = range(len(subjects))
    if frames is not None:
        still = rng.random() < scans.motion
        chosen = [i for i, s in enumerate(subjects) if s.images is not None and (s.images.ndim == 3) == still] or chosen
    files = sorted({subjects[i].source for i in chosen})
    source = files[int(rng.integers(len(files)))]
    chosen = [i for i in chosen if subjects[i].source == source]
    return chosen[int(rng.integers(len(chosen)))]


def draw_mask(scans: Scans, rng: np.random.Generator, shape: tuple[int, ...], frames: int | None) -> Mask:
    """A mask of one of the kinds: ``([frame,] *shape)``."""
    acceleration, kind, seed = draw_sampling(scans, rng)
    return make_mask(kind, shape, acceleration, seed=seed, frames=frames)[0]


def draw_sampling(scans: Scans, rng: np.random.Generator) -> tuple[float, str, int]:
    """An acceleration, the kind of a mask, each with its odds, and its seed: what `undersample` takes."""
    odds = np.array(list(scans.masks.values()))
    kind = str(rng.choice(list(scans.masks), p=odds / odds.sum()))
    return math.exp(rng.uniform(*np.log(scans.acceleration))), kind, int(rng.integers(2**31))


def coil_maps(n_coils: int, shape: tuple[int, ...], rng: np.random.Generator, measured: Sequence[Tensor]) -> Maps:
    """Birdcage coils, or measured ones turned, mirrored and stretched to the matrix; ``sum_c |s_c|^2 = 1``."""
    fitting = [maps for maps in measured if len(maps) >= n_coils]
    if not fitting or rng.random() > _MAPS:
        return birdcage_maps(n_coils, shape, seed=int(rng.integers(2**31)))
    maps = fitting[int(rng.integers(len(fitting)))]
    maps = maps[torch.from_numpy(rng.permutation(len(maps))[:n_coils])]
    maps = torch.rot90(maps, int(rng.integers(4)), (-2, -1))
    maps = maps.flip(-1) if rng.random() < 0.5 else maps
    parts = torch.view_as_real(maps.resolve_conj()).movedim(-1, 1)
    parts = interpolate(parts, shape, mode="bicubic", align_corners=True)
    return unit(torch.view_as_complex(parts.movedim(1, -1).contiguous()))


def calibrated(kspace: Tensor, true: Maps, rng: np.random.Generator) -> Maps:
    """Self-calibrated maps: coil images from the centre of k-space, over their root sum of squares.

    At the edge of the object they are wrong, as estimated maps are. Half of the time they keep the phase of the object.

    Args:
        kspace: full, ``(coil, *spatial)``.
        true: the maps it was made with.
        rng: source of random numbers.

    Source: C. A. McKenzie et al., MRM 47:529-538 (2002).
    """
    width = rng.uniform(16, 48)
    for axis, n in enumerate(kspace.shape[1:], 1):
        t = ((torch.arange(n) - n // 2) / (width / 2)).clamp(-1, 1)
        kspace = kspace * ((1 + torch.cos(math.pi * t)) / 2).reshape(
            [-1 if a == axis else 1 for a in range(kspace.ndim)]
        )
    low = ifft(kspace, kspace.ndim - 1)
    if rng.random() < 0.5:
        low = low * torch.exp(-1j * (true.conj() * low).sum(0).angle())
    return unit(low)


def unit(maps: Maps) -> Maps:
    """``s / sqrt(sum_c |s_c|^2)``."""
    return maps / maps.abs().square().sum(0, keepdim=True).sqrt().clamp_min(1e-6)


def near(x: Image, spatial: int) -> Tensor:
    """1 within four pixels of the object, of any frame."""
    magnitude = x.abs() if x.ndim == spatial else x.abs().amax(0)
    bright = (magnitude > OBJECT * magnitude.max())[None].float()
    grow = max_pool2d if spatial == 2 else max_pool3d
    return grow(bright, 9, stride=1, padding=4)[0]
