"""Simulated scans: coils, smooth phase, noise and a mask; and retrospective undersampling of a full scan."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from resolvent._errors import DataError, ShapeError
from resolvent.data.espirit import SMALLEST
from resolvent.data.masks import calibrated_up_to, make_mask
from resolvent.data.scan import Scan
from resolvent.data.volume import Volume
from resolvent.linop.fourier import fft, ifft

_COILS, _PHASE = 1, 2  # separate random streams for one seed
OBJECT = 0.05
"""Pixels above this fraction of the largest magnitude count as object."""


def simulate(
    image: Tensor | Volume,
    *,
    n_coils: int = 8,
    acceleration: float = 4,
    mask_kind: str = "gaussian2d",
    snr_db: float | None = 30.0,
    seed: int = 0,
    maps: Tensor | None = None,
    phase: bool = True,
    ndim: int = 2,
) -> Scan:
    """Simulate the scan of a known image: ``y = M (F S x + n)``, ``x = image exp(i phase)``.

    The noise is white and complex with ``E|n|^2 = sigma^2`` per sample and

        snr_db = 10 log10( mean over the object of |x|^2 / sigma^2 ),

    where the object is the set of pixels above 5 % of the largest magnitude. F is orthonormal and
    ``sum_c |s_c|^2 = 1``, so sigma is also the noise of one pixel of the coil-combined, fully sampled image.

    Args:
        image: ``(batch, *lead, *spatial)``, or ``spatial`` alone, real or complex; or a `Volume`, whose geometry and
            `ndim` are kept. With one lead axis (time) the mask has its own draw for each frame.
        n_coils: number of birdcage coils; ignored if `maps` are given.
        acceleration: see `make_mask`; 1 for full sampling.
        mask_kind: see `make_mask`.
        snr_db: signal to noise in dB as above; None for no noise.
        seed: fixes coils, phase, noise and mask.
        maps: coil maps ``(batch or 1, coil, *lead or 1, *spatial)`` instead of birdcage coils; used unchanged.
        phase: whether to multiply the image by a smooth random phase; False for images with their own phase.
        ndim: number of spatial axes of a tensor, 2 or 3.

    Returns:
        A `Scan` with reference x, true maps, and noise sigma (0 without noise).

    Raises:
        DataError: the image is zero or not finite, or the mask or SNR is not possible.
        ShapeError: the image has fewer than `ndim` axes, or the maps do not fit it.

    >>> scan = simulate(torch.ones(32, 32), n_coils=4, acceleration=2)
    >>> scan.kspace.shape, scan.mask.shape, scan.n_coils
    (torch.Size([1, 4, 32, 32]), torch.Size([1, 32, 32]), 4)
    """
    volume = image if isinstance(image, Volume) else Volume(image + 0j, ndim=ndim)
    x, ndim = volume.image, volume.ndim
    if ndim not in (2, 3) or x.ndim < ndim:
        raise ShapeError(f"An image of {x.ndim} axes has no {ndim} spatial axes. Pass ndim=2 or 3 and that many axes.")
    x = (x if x.ndim > ndim else x[None]).to(torch.complex64)
    if not torch.isfinite(torch.view_as_real(x)).all() or not (x != 0).any():
        raise DataError("The image is zero everywhere or not finite, so nothing can be simulated. Check the file.")
    shape, lead = tuple(x.shape[-ndim:]), tuple(x.shape[1:-ndim])
    if phase:
        x = x * torch.exp(1j * smooth_phase(shape, seed=seed).to(x.device))
    if maps is None:
        maps = birdcage_maps(n_coils, shape, seed=seed).reshape(1, n_coils, *(1,) * len(lead), *shape).to(x.device)
    if maps.ndim != x.ndim + 1 or maps.shape[0] not in (1, len(x)) or tuple(maps.shape[-ndim:]) != shape:
        raise ShapeError(
            f"Maps {tuple(maps.shape)} do not fit an image {tuple(x.shape)}. "
            "Pass maps (batch or 1, coil, *lead or 1, *spatial)."
        )
    maps = maps.to(x.dtype).expand(len(x), *maps.shape[1:])
    mask = _mask(mask_kind, shape, lead, acceleration, seed).to(x.device)
    kspace = fft(maps * x.unsqueeze(1), ndim)
    sigma = 0.0
    if snr_db is not None:
        sigma = noise_at(snr_db, x.abs())
        kspace = add_noise(kspace, sigma, seed)
    return Scan(
        kspace=kspace * mask.unsqueeze(1),
        mask=mask,
        coil_maps=maps,
        noise=sigma,
        geometry=volume.geometry,
        reference=x,
        ndim=ndim,
        source=volume.source,
    )


def undersample(scan: Scan, acceleration: float, mask_kind: str = "gaussian2d", seed: int = 0) -> Scan:
    """Undersample a complete scan retrospectively, so that a reconstruction can be compared with the full one.

    The maps are those of the file. If it has none, ESPIRiT estimates them from the undersampled scan, or from its
    separate calibration lines, without any sample that was left out. The reference is ``sum_c conj(s_c) F^-1 k_c`` of
    the full k-space k with the same maps, so the images to be compared have the same coil weighting, phase and
    background.

    Args:
        scan: a scan that is complete, see `Scan.complete`; where its k-space is padded with zeros, the mask of the
            whole matrix is drawn, and the padding left out.
        acceleration: see `make_mask`.
        mask_kind: `kind` of `make_mask`. The lines of a 1-D kind run along the readout if the scan knows it, else along
            y. With one lead axis (time) the mask differs from frame to frame.
        seed: fixes the mask.

    Raises:
        DataError: the scan is not complete, its maps have several sets, the mask is not possible, or its centre is
            too small for ESPIRiT.

    >>> undersample(simulate(torch.ones(32, 32), acceleration=1), 4).acceleration
    4.0
    """
    if scan.coil_maps is not None and scan.coil_maps.ndim > scan.kspace.ndim:
        raise DataError(
            f"maps have {scan.coil_maps.shape[2]} sets (axis 2 of maps for {scan.source or 'the scan'}), which have no "
            "single full image to compare with. Pass maps with one set, or leave out --acceleration."
        )
    if scan.trajectory is not None:
        raise DataError(
            f"{scan.source or 'The scan'} is not Cartesian, and only samples of a grid can be left out. "
            "Reconstruct it as it is."
        )
    if not scan.complete:
        percent = 100 * float((scan.mask != 0).float().mean())
        raise DataError(
            f"Only {percent:.0f} % of the samples of {scan.source or 'the scan'} were measured, so it cannot be "
            "undersampled again. Reconstruct it as it is, or pass a fully sampled scan."
        )
    shape, lead = tuple(scan.kspace.shape[-scan.ndim :]), tuple(scan.kspace.shape[2 : -scan.ndim])
    mask = scan.mask * _mask(mask_kind, shape, lead, acceleration, seed, scan.readout).to(scan.kspace.device)
    under = scan.replace(kspace=scan.kspace * mask.unsqueeze(1), mask=mask, reference=None)
    try:
        maps = under.maps
    except DataError as error:
        largest = calibrated_up_to(mask_kind, shape, SMALLEST, scan.readout)
        if not 1 <= largest < acceleration:
            raise
        raise DataError(
            f"At acceleration {acceleration:g} a {mask_kind} mask of {' x '.join(map(str, shape))} has fewer than the "
            f"{SMALLEST} lines in its centre from which ESPIRiT makes coil maps. Choose an acceleration up to "
            f"{math.floor(10 * largest) / 10:g}, or pass coil maps."
        ) from error
    reference = (maps.conj() * ifft(scan.kspace, scan.ndim)).sum(1)
    return under.replace(coil_maps=maps, reference=reference)


def _mask(
    kind: str, shape: tuple[int, ...], lead: tuple[int, ...], acceleration: float, seed: int, readout: int | None = None
) -> Tensor:
    """A mask ``(1, *lead or 1, *shape)``: with one lead axis (time) every frame has its own, otherwise it is shared."""
    if len(lead) == 1:
        return make_mask(kind, shape, acceleration, seed=seed, frames=lead[0], readout=readout)
    return make_mask(kind, shape, acceleration, seed=seed, readout=readout).reshape(1, *(1,) * len(lead), *shape)


def birdcage_maps(n_coils: int, shape: tuple[int, ...], *, seed: int | None = None) -> Tensor:
    """Smooth coil sensitivity maps of loops around the object, ``sum_c |s_c|^2 = 1`` at every pixel.

    ``s_c(p) ~ 1 / conj(p - p_c)`` in the complex plane: the magnitude falls with the distance from the loop, the phase
    turns around it. In 3-D there are rings of at most 8 loops along z, and the magnitude follows the 3-D distance.

    Args:
        n_coils: number of loops, at least 1.
        shape: ``(y, x)`` or ``(z, y, x)``.
        seed: moves and turns the loops at random (each by up to a quarter of their spacing, 10 % in radius, any
            phase); None for the regular ring.

    Returns:
        complex64, ``(n_coils, *shape)``.

    Raises:
        DataError: there is less than one coil.
    """
    if n_coils < 1:
        raise DataError(f"A scan cannot have {n_coils} coils. Pass n_coils of at least 1.")
    rings = math.ceil(n_coils / 8) if len(shape) == 3 else 1
    ring = np.arange(n_coils) % rings
    on_ring = np.bincount(ring)[ring]
    angle = 2 * np.pi * (np.arange(n_coils) // rings + ring / rings) / on_ring
    radius, turn = np.full(n_coils, 1.5), np.zeros(n_coils)
    height = 2 * (ring + 0.5) / rings - 1
    if seed is not None:
        rng = np.random.default_rng([_COILS, seed])
        angle = angle + rng.uniform(0, 2 * np.pi) + rng.uniform(-0.25, 0.25, n_coils) * 2 * np.pi / on_ring
        radius = radius * rng.uniform(0.9, 1.1, n_coils)
        turn = rng.uniform(0, 2 * np.pi, n_coils)
    axes = [(np.arange(n) - n // 2) / (n / 2) for n in shape]
    *z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    column = (slice(None), *(None,) * len(shape))
    offset = (x[None] + 1j * y[None]) - (radius * np.exp(1j * angle))[column]
    height2 = (z[0][None] - height[column]) ** 2 if z else 0.0
    maps = np.exp(1j * (np.angle(-offset) - angle[column] + turn[column])) / np.sqrt(np.abs(offset) ** 2 + height2)
    maps /= np.sqrt((np.abs(maps) ** 2).sum(0))
    return torch.from_numpy(maps.astype(np.complex64))


def smooth_phase(shape: tuple[int, ...], *, seed: int) -> Tensor:
    """A random smooth phase map in radians, like that from B0 offsets and receive chains.

    A random polynomial of degree 2 (uniform constant term, other coefficients with std 1 rad at the edge) plus six
    cosines of at most 1.5 periods over the field of view (std 0.4 rad together).

    Args:
        shape: ``(y, x)`` or ``(z, y, x)``.
        seed: fixes the map.

    Returns:
        float32 of the given shape.
    """
    rng = np.random.default_rng([_PHASE, seed])
    grid = np.meshgrid(*[(np.arange(n) - n // 2) / (n / 2) for n in shape], indexing="ij", sparse=True)
    phase = np.full(shape, rng.uniform(-np.pi, np.pi))
    for i, a in enumerate(grid):
        phase = phase + rng.standard_normal() * a
        for b in grid[i:]:
            phase = phase + rng.standard_normal() * a * b
    for _ in range(6):
        turns = rng.uniform(-0.75, 0.75, len(shape))
        wave = sum((2 * np.pi * t * a for t, a in zip(turns, grid, strict=True)), rng.uniform(0, 2 * np.pi))
        phase = phase + 0.4 / math.sqrt(3) * np.cos(wave)
    return torch.from_numpy(phase.astype(np.float32))


def noise_at(snr_db: float, magnitude: Tensor) -> float:
    """The sigma of `simulate`: the noise of a sample at which the object has the signal to noise `snr_db`.

    ``sigma^2 = 10^(-snr_db / 10) mean |x|^2`` over the pixels above 5 % of the largest magnitude.

    Args:
        snr_db: in dB, up to 1,000 of either sign; infinite for no noise.
        magnitude: ``|x|``, of any shape.

    Raises:
        DataError: `snr_db` is out of range.

    >>> noise_at(20.0, torch.tensor([0.0, 0.04, 1.0, 1.0]))
    0.1
    """
    if not (abs(snr_db) <= 1000 or snr_db == math.inf):
        raise DataError(f"{snr_db} dB is no signal-to-noise ratio. Pass decibels such as 30, or inf for no noise.")
    power = magnitude.square()[magnitude > OBJECT * magnitude.max()].mean()
    return math.sqrt(float(power) / 10 ** (snr_db / 10))


def add_noise(kspace: Tensor, sigma: float, seed: int) -> Tensor:
    """Add white complex Gaussian noise, ``E|n|^2 = sigma^2`` per sample, half of it in each of the two channels.

    It is added to every sample: multiply by the mask afterwards.
    """
    generator = torch.Generator(device=kspace.device).manual_seed(seed)
    noise = torch.randn(kspace.shape, dtype=kspace.dtype, device=kspace.device, generator=generator)
    return kspace + sigma * noise
