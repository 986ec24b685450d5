"""ESPIRiT: coil sensitivity maps from the fully sampled centre of k-space."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from resolvent._errors import DataError

if TYPE_CHECKING:
    from resolvent.data.scan import Scan

_CALIBRATION = 24  # largest number of lines used per axis
SMALLEST, FEWEST = 8, 4  # lines needed per axis: SMALLEST, or all lines of an axis that has FEWEST to SMALLEST
_KERNEL = {2: 6, 3: 4}  # largest width of a patch in 2-D and 3-D; a third of the block, but at least 3, if that is less
_RANK = 0.02  # singular values of the calibration matrix below this fraction of the largest are noise,
_FLOOR = 3.0  # and eigenvalues of its square below this multiple of the median of their smaller half
_ENTRIES = 2**22  # numbers of W held at once
_AS_THEY_ARE = 0.01  # bias, relative to the energy of the frames, towards adding them without a change of phase


def espirit(scan: Scan, *, sets: int = 1) -> Tensor:
    """ESPIRiT coil maps from the fully sampled centre of the k-space of a scan.

    The centre is found from the mask (`calibration_block`). Lead axes (time, echo) are averaged over the samples that
    were measured. Each frame is multiplied by the phase that makes the mean largest (`_phases`), so that frames of
    opposite sign do not cancel; the maps have lead axes of length 1. For a non-Cartesian scan the centre is first
    gridded (`gridded_centre`), and the phases of frames are those of their values at DC.

    Args:
        scan: only its k-space, mask and trajectory are used.
        sets: number of map sets; 2 for soft-SENSE, where the field of view is smaller than the object.

    Returns:
        ``(batch, coil, *1, *spatial)``, with several sets ``(batch, coil, set, *1, *spatial)``; see `espirit_maps`.

    Raises:
        DataError: the fully sampled centre is smaller than 8 lines on an axis that is longer; the message names it.

    >>> from resolvent.data import simulate
    >>> image = (torch.linspace(-1, 1, 48) ** 2 < 0.6).float().outer(torch.ones(48))
    >>> espirit(simulate(image, n_coils=4, acceleration=2)).shape
    torch.Size([1, 4, 48, 48])
    """
    lead = tuple(range(2, scan.kspace.ndim - scan.ndim))
    centres = _cartesian_centres(scan, lead) if scan.trajectory is None else _gridded_centres(scan)
    maps = torch.stack([espirit_maps(centre, scan.matrix, sets=sets) for centre in centres])
    maps = maps.reshape(*maps.shape[:3], *(1,) * len(lead), *maps.shape[3:])
    return maps if sets > 1 else maps.squeeze(2)


def _cartesian_centres(scan: Scan, lead: tuple[int, ...]) -> Tensor:
    mask = (scan.mask != 0).unsqueeze(1)
    mask = mask.expand(-1, -1, *scan.kspace.shape[2:]).flatten(2, -1 - scan.ndim) if lead else mask.unsqueeze(2)
    block = calibration_block(mask.any(2).all(0).all(0), scan.source)
    times = mask[(..., *block)]
    frames = scan.kspace[(..., *block)].reshape(*scan.kspace.shape[:2], *times.shape[2:]) * times
    return frame_mean(frames, times)


def frame_mean(frames: Tensor, times: Tensor) -> Tensor:
    """The mean over the frames of a series, of measured samples only, ``(batch, coil, *block)``.

    Args:
        frames: ``(batch, coil, frame, *block)``, zero where not measured; each is multiplied by its phase (`_phases`).
        times: bool ``(batch or 1, 1, frame or 1, *block)``, where they were measured.
    """
    if frames.shape[2] > 1:
        frames = frames * _phases(frames)
    return frames.sum(2) / times.sum(2).clamp(min=1)


def _phases(frames: Tensor) -> Tensor:
    """Phase factors ``(batch, 1, frame, *1)`` with which the frames of a series add up and do not cancel.

    The phases of the leading eigenvector of ``G_st = <k_s, k_t> + 0.01 mean_r |k_r|^2``, the product over the samples
    that both frames have. The constant leaves the frames unchanged where nothing else decides.

    Args:
        frames: ``(batch, coil, frame, *block)``, zero where not measured.
    """
    k = frames.transpose(1, 2).flatten(2)
    k = torch.nan_to_num(k / torch.view_as_real(k).abs().amax((1, 2, 3))[:, None, None])
    gram = (k.conj() @ k.mT).to(torch.complex128)
    gram = gram + _AS_THEY_ARE * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    leading = torch.linalg.eigh(gram).eigenvectors[:, :, -1]
    phases = torch.where(leading == 0, 1, torch.sgn(leading)).to(frames.dtype)
    return phases.reshape(len(frames), 1, -1, *(1,) * (frames.ndim - 3))


def _gridded_centres(scan: Scan) -> list[Tensor]:
    """The centres of the slices of a non-Cartesian scan."""
    from resolvent.data.gridding import gridded_centre

    centres = []
    for one in map(scan.entry, range(len(scan.kspace))):
        assert one.trajectory is not None
        k, covered = gridded_centre(_in_phase(one), one.mask, one.trajectory)
        centres.append(k[(slice(None), *calibration_block(covered, scan.source))])
    return centres


def _in_phase(scan: Scan) -> Tensor:
    """k-space of one slice along a trajectory, its frames multiplied by the phases that align their values at DC.

    DC is the only place that frames share. The value there is a sum over the samples within one cycle per field of
    view, with weights that fall fast: half a cycle away an off-centre object has another phase.
    """
    assert scan.trajectory is not None
    lead = scan.kspace.shape[2 : -scan.ndim]
    if not lead:
        return scan.kspace
    near = (1 - scan.trajectory.places.abs()).clamp(min=0).prod(-1) ** 4 * (scan.mask != 0)
    dc = (near.unsqueeze(1) * scan.kspace).flatten(-scan.ndim).sum(-1, keepdim=True).to(scan.kspace.dtype)
    return scan.kspace * _phases(dc.flatten(2, -2)).reshape(1, 1, *lead, *(1,) * scan.ndim)


def calibration_block(measured: Tensor, source: str = "") -> tuple[slice, ...]:
    """The fully sampled block around DC from which maps are estimated.

    It grows by one line on each axis in turn while all its samples are measured, up to 24 lines per axis. If one axis
    ends sooner, the others continue up to the same number of samples.

    Args:
        measured: bool, ``spatial``.
        source: named in the message.

    Raises:
        DataError: there are fewer than 8 lines on an axis that has more.
    """
    size = [0] * measured.ndim

    def block(size: list[int]) -> tuple[slice, ...]:
        return tuple(slice(n // 2 - w // 2, n // 2 - w // 2 + w) for n, w in zip(measured.shape, size, strict=True))

    for limit in (_CALIBRATION, max(measured.shape)):
        growing = set(range(measured.ndim))
        while growing:
            for axis in sorted(growing):
                trial = [w + (i == axis) for i, w in enumerate(size)]
                at_least_one = [max(w, 1) for w in trial]
                fits = trial[axis] <= min(limit, measured.shape[axis])
                fits = fits and math.prod(at_least_one) <= _CALIBRATION**measured.ndim
                if fits and bool(measured[block(at_least_one)].all()):
                    size = trial
                else:
                    growing.discard(axis)
    if any(w < min(SMALLEST, max(n, FEWEST)) for w, n in zip(size, measured.shape, strict=True)):
        raise DataError(
            f"The fully sampled centre of k-space{' in ' + source if source else ''} is only "
            f"{' x '.join(map(str, size))} samples, but ESPIRiT needs {SMALLEST} on every axis "
            f"(all of one that has {FEWEST} to {SMALLEST}). Pass coil maps, or a mask with a larger centre."
        )
    return block(size)


def espirit_maps(calibration: Tensor, shape: tuple[int, ...], *, sets: int = 1, crop: float = 0.8) -> Tensor:
    """ESPIRiT maps of one image from a fully sampled block around DC.

    Patches of k-space, k samples wide on every axis and over all coils, lie in a small space with projector P. The
    average of P over all patches that contain a sample, ``W = k^-d sum_p R_p^H P R_p``, is a convolution; in the image
    it is a coil x coil matrix at every pixel,

        W_ij(x) = k^-d sum_l C_ij[l] exp(2 pi i l x / N),     C_ij[l] = sum_t P[(i, t + l), (j, t)],

    with ``0 <= W <= I``. Its eigenvectors with eigenvalue near 1 are the coil sensitivities, up to a phase, which is
    chosen so that the leading principal component of the coils (over the block) has a real positive map.

    Args:
        calibration: ``(coil, *block)``, DC at index ``n // 2`` of each axis.
        shape: spatial shape of the maps.
        sets: number of eigenvectors.
        crop: pixels with a smaller eigenvalue (background without signal) get a map of zero.

    Returns:
        complex64 ``(coil, sets, *shape)``: orthonormal vectors over the coils, so ``sum_c |s_c|^2 = 1``, where the
        eigenvalue reaches `crop`; else 0. One coil: all ones.

    Raises:
        DataError: the block is zero or not finite, or there are fewer coils than sets.

    Source: Uecker et al. 2014, MRM 71:990, eq. 9-12. The few lags of the convolution are evaluated exactly at every
    pixel.
    """
    peak = torch.view_as_real(calibration).abs().max()
    if not (torch.isfinite(peak) and peak > 0):
        raise DataError("The calibration lines of k-space are zero or not finite. Check the scan, or pass coil maps.")
    coils, device = calibration.shape[0], calibration.device
    maps = torch.ones(coils, sets, *shape, dtype=torch.complex64, device=device)
    if coils == 1:
        return maps
    if not 1 <= sets <= coils:
        raise DataError(f"{sets} map sets cannot be made from {coils} coils. Pass sets from 1 to {coils}.")
    block = (calibration / peak).to(torch.complex64)
    lags, width = _lags(block)
    waves = []  # exp(2 pi i l x / N) on every axis, (pixel, lag)
    for n, k in zip(shape, width, strict=True):
        phase = torch.outer(
            torch.arange(n, dtype=torch.float64) - n // 2, torch.arange(1.0 - k, k, dtype=torch.float64)
        )
        waves.append(torch.polar(torch.ones_like(phase), 2 * math.pi * phase / n).to(device, torch.complex64))
    for axis in range(1, len(shape)):  # all but the first axis at once: (lag, pixels..., coil, coil)
        lags = (lags.movedim(axis, -1) @ waves[axis].T).movedim(-1, axis)
    component = torch.linalg.eigh(block.flatten(1) @ block.flatten(1).mH).eigenvectors[:, -1]
    rows = max(1, _ENTRIES // (math.prod(shape[1:]) * coils**2))
    for first in range(0, shape[0], rows):
        some = slice(first, first + rows)
        w = (waves[0][some] @ lags.flatten(1)).reshape(-1, coils, coils)
        values, vectors = torch.linalg.eigh(w)  # as fast as power iterations: the matrices are small
        values, vectors = values[:, -sets:].flip(1), vectors[:, :, -sets:].flip(2)
        vectors = vectors * torch.sgn((component.conj() @ vectors).conj()).unsqueeze(1) * (values >= crop).unsqueeze(1)
        maps[:, :, some] = vectors.permute(1, 2, 0).reshape(coils, sets, -1, *shape[1:])
    return maps


def _lags(block: Tensor) -> tuple[Tensor, list[int]]:
    """The convolution ``k^-d C`` as ``(lag on each axis from 1 - k to k - 1, coil, coil)``, and the patch widths k."""
    coils, d = block.shape[0], block.ndim - 1
    width = [min(_KERNEL[d], max(3, n // 3)) for n in block.shape[1:]]
    patches = block
    for axis, k in enumerate(width):
        patches = patches.unfold(1 + axis, k, 1)
    patches = patches.movedim(0, d).flatten(0, d - 1).flatten(1)
    values, vectors = torch.linalg.eigh((patches.T @ patches.conj()).to(torch.complex128))
    noise = _FLOOR * values[: len(values) // 2].clamp_min(0).median()  # for small patches all pass the first threshold
    vectors = vectors[:, values > torch.maximum(_RANK**2 * values[-1], noise)].to(torch.complex64)
    kernels = vectors.T.reshape(-1, coils, *width)
    size = [2 * k - 1 for k in width]  # number of lags of the correlation of two kernels
    spectrum = torch.fft.fftn(kernels, s=size, dim=tuple(range(2, 2 + d))).flatten(2).permute(2, 1, 0)
    lags = torch.fft.ifftn((spectrum @ spectrum.mH).reshape(*size, coils, coils), dim=tuple(range(d)))
    return torch.fft.fftshift(lags, dim=tuple(range(d))) / math.prod(width), width
