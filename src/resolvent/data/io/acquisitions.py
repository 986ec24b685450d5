"""Acquisitions of any format as a scan: on the Cartesian grid or along a trajectory, whitened, cropped, placed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from resolvent._errors import CorruptFileError, FormatError, ScanWarning
from resolvent.data.espirit import frame_mean
from resolvent.data.io.lines import Table, framed, in_use, sort_lines
from resolvent.data.io.mrd_header import MRDHeader
from resolvent.data.io.oversampling import crop_readout
from resolvent.data.io.readouts import stack_readouts
from resolvent.data.io.stack import slice_order, stacked
from resolvent.data.io.whitening import whitener
from resolvent.data.places import Geometry, Trajectory
from resolvent.data.scan import Scan
from resolvent.data.validation import constant, infer_mask, shared

NOISE, CALIBRATION, CALIBRATION_AND_IMAGING, REVERSED = 19, 20, 21, 22
NAVIGATION, PHASE_CORRECTION, HP_FEEDBACK, DUMMY, RT_FEEDBACK, SURFACE_COIL, REFERENCE, STABILISATION = (
    23,
    24,
    26,
    27,
    28,
    29,
    30,
    31,
)
NOT_IMAGING = (NAVIGATION, PHASE_CORRECTION, HP_FEEDBACK, DUMMY, RT_FEEDBACK, SURFACE_COIL, REFERENCE, STABILISATION)
"""Flags of readouts that are not part of an image."""
ASIDE = 0.01
"""How far a line of the grid may deviate from its direction, as a fraction of its length."""
UNUSED = "are left out: coil maps are estimated from the centre of the scan itself"
HEAD = np.dtype(
    [
        ("flags", "<u8"),
        ("number_of_samples", "<i8"),
        ("active_channels", "<i8"),
        ("discard_pre", "<i8"),
        ("discard_post", "<i8"),
        ("center_sample", "<i8"),
        ("encoding_space_ref", "<i8"),
        ("sample_time_us", "<f4"),
        ("position", "<f4", (3,)),
        ("read_dir", "<f4", (3,)),
        ("phase_dir", "<f4", (3,)),
        ("slice_dir", "<f4", (3,)),
        (
            "idx",
            [
                (name, "<i8")
                for name in (
                    "kspace_encode_step_1",
                    "kspace_encode_step_2",
                    "average",
                    "slice",
                    "contrast",
                    "phase",
                    "repetition",
                    "set",
                )
            ],
        ),
    ]
)
"""The fields of an acquisition header that are used, named as in MRD; flags are numbered from 1, as there."""


def flagged(heads: np.ndarray, *bits: int) -> np.ndarray:
    """Which acquisitions carry one of the flags."""
    wanted = sum(1 << (bit - 1) for bit in bits)
    return (heads["flags"].astype(np.uint64) & np.uint64(wanted)) != 0


def only_calibration(heads: np.ndarray) -> np.ndarray:
    """Which acquisitions serve for coil maps only."""
    return flagged(heads, CALIBRATION) & ~flagged(heads, CALIBRATION_AND_IMAGING)


def scan_of(
    heads: np.ndarray,
    lines: Sequence[np.ndarray] | np.ndarray,
    header: MRDHeader,
    path: str,
    places: Sequence[np.ndarray] | None = None,
) -> Scan:
    """K-space of the first encoding.

    Slices become batch, ordered by position; contrasts, phases, repetitions and sets that are in use become lead axes,
    in this order; averages are averaged; encoding step 2 makes the scan 3-D. Lines are placed relative to the centre in
    the encoding limits. With a noise scan the coils are whitened: `noise` is then 1 (less after averaging), and k-space
    is in units of the noise. Lines for calibration only are not in `kspace`, but kept as `calibration`.

    If the header names a trajectory that is not Cartesian, readouts are stacked in file order, with their places in
    k-space (see `resolvent.data.io.readouts`), and every average is a readout of its own.

    Args:
        heads: one record per acquisition, with the fields of `HEAD`.
        lines: the samples of each acquisition, interleaved float32 (coil, sample, real and imaginary).
        header: matrix, field of view and centre.
        path: for messages.
        places: of the samples of each acquisition, float ``(sample, component)``, where the format has them.

    Warns (`ScanWarning`) of encodings and calibration lines that are left out, of echo-planar readouts, which are used
    uncorrected, and of places that are not on the grid of a Cartesian header.

    Raises:
        FormatError: not Cartesian and without places, sampled on the gradient ramps, no image lines, or sizes that the
            file cannot hold.
        CorruptFileError: a table that contradicts itself.
    """
    cartesian = header.trajectory in ("cartesian", "epi")
    noise = flagged(heads, NOISE)
    first = heads["encoding_space_ref"] == 0
    if header.encodings > 1 or (~first & ~noise).any():
        _warn(path, f"it has {max(header.encodings, 2)} encodings; only the first is read")
    if cartesian and header.ramps:
        raise FormatError(
            f"{path} has readouts sampled on the gradient ramps, which are not handled. Regrid them first, and set the "
            "ramp times of the header to 0."
        )
    corrections = int((first & flagged(heads, PHASE_CORRECTION)).sum())
    if corrections or header.trajectory == "epi":
        fact = f"its phase-correction readouts ({corrections}) are left out" if corrections else "it is echo-planar"
        _warn(path, f"{fact}: ghosts are not corrected, and samples on gradient ramps not regridded; do both before")
    chosen = first & ~noise & ~flagged(heads, *NOT_IMAGING)
    only = only_calibration(heads)
    if not (chosen & ~only).any():
        raise FormatError(
            f"{path} holds no image lines in the first of its encodings. Check which acquisitions were exported."
        )
    coils = np.unique(heads["active_channels"][chosen])
    if len(coils) != 1:
        raise CorruptFileError(
            f"{path} has lines of {coils.tolist()} channels; all need the same number. Export it again."
        )

    data = np.empty(len(lines), dtype=object)
    data[:] = list(lines)
    where = np.empty(len(lines), dtype=object)
    where[:] = [None] * len(lines) if places is None else list(places)
    if cartesian and places is not None and any(map(_turned, where[chosen])):
        _warn(
            path,
            f"its header says {header.trajectory}, so its readouts are taken as lines of the grid, but their places "
            "in k-space are not on such lines; correct the trajectory in the header",
        )
    table = Table(heads, data, flagged(heads, REVERSED), int(coils[0]), where)
    white = whitener(heads[noise], data[noise], heads[chosen], header.noise_bandwidth, path) if noise.any() else None
    assemble = _assemble if cartesian else _stack
    image = assemble(table, chosen & ~only, header, white, path)
    for text in image.said:
        _warn(path, text)
    separate = None
    if cartesian and (chosen & only).any():
        both = chosen & (only | flagged(heads, CALIBRATION_AND_IMAGING))
        wide = image.matrix[-1] > header.readout  # asymmetric echoes keep their oversampling, and so must these lines
        alike = replace(header, recon=header.encoded) if wide else header
        separate = _calibration(_assemble(table, both, alike, white, path), image, path)
    elif (chosen & only).any():
        _warn(path, f"its calibration lines {UNUSED}, which is not Cartesian")
    return Scan(
        kspace=image.kspace,
        mask=infer_mask(image.kspace, image.ndim) if image.mask is None else image.mask,
        noise=None if white is None else image.averaging,
        geometry=_geometry(heads[chosen & ~only], image, header, path),
        ndim=image.ndim,
        source=path,
        calibration=separate,
        trajectory=image.trajectory,
        readout=-1 if cartesian else None,
        counters=in_use(heads["idx"][chosen & ~only]),
    )


def _turned(places: np.ndarray) -> bool:
    """Whether a readout does not run along x alone."""
    return places.ndim == 2 and places.shape[1] > 1 and bool(np.ptp(places[:, 1]) > ASIDE * np.ptp(places[:, 0]))


@dataclass(frozen=True)
class _Assembled:
    """K-space, its mask and trajectory, its slices, the factor of averaging on the noise, and what to warn of."""

    kspace: torch.Tensor
    mask: torch.Tensor | None
    slices: np.ndarray
    averaging: float
    ndim: int
    trajectory: Trajectory | None = None
    said: tuple[str, ...] = ()

    @property
    def matrix(self) -> tuple[int, ...]:
        """Spatial shape of the image."""
        return tuple(self.kspace.shape[-self.ndim :]) if self.trajectory is None else self.trajectory.matrix


def _assemble(table: Table, chosen: np.ndarray, header: MRDHeader, white: np.ndarray | None, path: str) -> _Assembled:
    slices = slice_order(table.heads[chosen]["idx"]["slice"], table.heads[chosen])
    said: list[str] = []
    grid, counts = sort_lines(table, chosen, slices, header, path, said.append)
    kspace, mask = _whitened(torch.from_numpy(grid), white), torch.from_numpy(counts > 0)
    if constant(mask, -1):  # whole lines: the oversampling can go
        kspace, mask = crop_readout(kspace, header.readout), mask[..., : header.readout]
    elif header.readout < grid.shape[-1]:
        said.append(
            f"its readouts do not fill the encoded matrix (asymmetric echoes), so their oversampling is kept: the "
            f"image has {grid.shape[-1]} columns, of which the middle {header.readout} are those of the header"
        )
    ndim = 3 if grid.shape[-3] > 1 or header.encoded.matrix[2] > 1 else 2
    if ndim == 2:
        kspace, mask = kspace.squeeze(-3), mask.squeeze(-3)
    averaging = float(np.sqrt(np.mean(1.0 / counts[counts > 0])))
    mask = shared(mask, ndim).to(torch.float32).contiguous()
    return _Assembled(kspace, mask, slices, averaging, ndim, said=tuple(said))


def _stack(table: Table, chosen: np.ndarray, header: MRDHeader, white: np.ndarray | None, path: str) -> _Assembled:
    slices = slice_order(table.heads[chosen]["idx"]["slice"], table.heads[chosen])
    said: list[str] = []
    samples, mask, trajectory = stack_readouts(table, chosen, slices, header, path, said.append)
    kspace = _whitened(torch.from_numpy(samples), white)
    ndim = len(trajectory.matrix)
    return _Assembled(kspace, torch.from_numpy(mask), slices, 1.0, ndim, trajectory, tuple(said))


def _whitened(kspace: torch.Tensor, white: np.ndarray | None) -> torch.Tensor:
    if white is None:
        return kspace
    return torch.einsum("ij,bj...->bi...", torch.from_numpy(white.astype(np.complex64)), kspace).contiguous()


def _calibration(separate: _Assembled, image: _Assembled, path: str) -> Scan | None:
    """The calibration lines as a scan of their own, with the slices of the image; None where they do not fit.

    It is the mean of all frames, since a single frame may not hold all lines.
    """
    order = [int(np.flatnonzero(separate.slices == s)[0]) for s in image.slices if s in separate.slices]
    ours, theirs = (" x ".join(map(str, one.kspace.shape[-image.ndim :])) for one in (image, separate))
    wrong = "" if ours == theirs else f"make k-space of {theirs} where the image lines make {ours}"
    if len(order) != len(image.slices):
        wrong = "do not cover all slices"
    if wrong:
        _warn(path, f"its calibration lines {wrong}, and {UNUSED}")
        return None
    kspace = separate.kspace[order]
    if kspace.ndim > 2 + image.ndim:
        frames = kspace.flatten(2, -1 - image.ndim)
        kspace = frame_mean(frames, frames.any(1, keepdim=True))
    return Scan(kspace=kspace.contiguous(), mask=infer_mask(kspace, image.ndim), ndim=image.ndim, source=path)


def _warn(path: str, text: str) -> None:
    warnings.warn(ScanWarning(path, text), stacklevel=6)


def _geometry(heads: np.ndarray, image: _Assembled, header: MRDHeader, path: str) -> Geometry | None:
    """Columns along the readout, rows along the phase encoding (see `stacked`); None without a field of view."""
    x, y, _ = header.encoded.spacing()
    thickness = header.encoded.spacing()[2] if image.ndim == 3 else header.recon.spacing()[2]
    voxel = np.array([x, y, thickness])
    if not voxel.all():
        return None
    batch, frame, _ = framed(heads["idx"], image.slices)
    first = np.unique(frame, return_index=True)[1]
    return stacked(heads[first], batch[first], image.matrix, voxel, lambda text: _warn(path, text))
