"""The validation of a `Scan`: every reader calls it, and so does all code that adds maps or a mask to a scan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from resolvent._errors import DataError, ShapeError

if TYPE_CHECKING:
    from resolvent.data.places import Trajectory
    from resolvent.data.scan import Scan

ISOLATED = 0.01
"""Fraction of exact zeros among measured samples that counts as chance (quantised data), not as missing samples."""


def check(scan: Scan) -> None:
    """Refuse a scan whose parts are unusable or contradict each other.

    Checked in this order: axes of k-space, finite, not all zero; mask: shape, not empty, agreement with the zeros of
    k-space; trajectory: axes, finite; readout: a spatial axis; scale; maps: coils, matrix, slices, finite, not zero;
    reference: matrix, finite.

    Raises:
        ShapeError: two parts do not fit; the message names the axis and the file.
        DataError: the numbers are unusable; the message names the part, the file and a remedy.
    """
    where = Path(scan.source).name if scan.source else "the scan"
    check_kspace(scan.kspace, scan.ndim, where)
    _check_mask(scan.kspace, scan.mask, scan.ndim, where)
    if scan.trajectory is not None:
        _check_trajectory(scan.trajectory, scan.kspace, scan.ndim, where)
    if scan.readout is not None and scan.readout not in range(-scan.ndim, 0):
        raise DataError(
            f"readout is axis {scan.readout}, but the spatial axes are {-scan.ndim} to -1 ({where}). Count it from the "
            "last axis, or leave it out."
        )
    if not 0 < scan.scale < float("inf"):
        raise DataError(
            f"scale is {scan.scale}, but a factor to the units of a file is finite and positive ({where}). Pass 1 if "
            "it is unknown."
        )
    if scan.coil_maps is not None:
        check_maps(scan.coil_maps, scan.kspace, scan.ndim, where, scan.trajectory and scan.trajectory.matrix)
    if scan.reference is not None:
        wanted, found = scan.matrix, tuple(scan.reference.shape[-scan.ndim :])
        if wanted != found:
            raise ShapeError(
                f"reference is {_by(found)} but k-space is {_by(wanted)} (its spatial axes in {where}). "
                "Leave the reference out, or crop it to the matrix of the scan."
            )
        _finite(scan.reference, "reference", where)


def check_kspace(kspace: Tensor, ndim: int, where: str) -> None:
    """Check k-space: axes ``(batch, coil, *lead, *spatial)``, complex, finite, some signal in every batch item."""
    check_complex(kspace.dtype, where)
    if kspace.ndim < 2 + ndim or 0 in kspace.shape:
        raise ShapeError(
            f"k-space has shape {tuple(kspace.shape)} but needs (batch, coil, *lead, {'z, ' * (ndim == 3)}y, x), none "
            f"of them empty (kspace in {where}). Reshape it."
        )
    _finite(kspace, "k-space", where, name="kspace")
    signal = kspace.flatten(1).any(dim=1)
    if not signal.any():
        raise DataError(f"k-space is zero everywhere (kspace in {where}). Check the export; there is nothing to see.")
    if not signal.all():
        empty = int((~signal).nonzero()[0])
        raise DataError(
            f"k-space of slice {empty} is zero everywhere (axis 0 of kspace in {where}). Leave that slice out."
        )


def check_complex(dtype: object, where: str, name: str = "kspace") -> None:
    """Check that k-space is complex, as a tensor or as stored: a reader must not convert real numbers to complex.

    Raises:
        DataError: it is not complex.
    """
    if "complex" not in str(dtype):
        raise DataError(
            f"k-space is {dtype}, but measured k-space is complex ({name} in {where}). Store real and imaginary part "
            "as one complex number; an image, or a magnitude, is no k-space."
        )


def check_maps(maps: Tensor, kspace: Tensor, ndim: int, where: str, matrix: tuple[int, ...] | None = None) -> None:
    """Check that maps ``(batch, coil, *lead or 1, *spatial)`` fit k-space; one additional lead axis is the map set.

    The matrix is that of k-space, or `matrix` if k-space has a trajectory.
    """
    advice = "Pass maps estimated from the same scan."
    if not maps.is_complex() or maps.ndim < 2 + ndim:
        raise ShapeError(
            f"maps are {maps.dtype} of shape {tuple(maps.shape)} but must be complex (batch, coil, *lead, *spatial) "
            f"for {where}. {advice}"
        )
    ours, theirs = maps.shape[1], kspace.shape[1]
    if ours != theirs:
        coils = "1 coil" if ours == 1 else f"{ours} coils"
        remedy = f"One map cannot stand for {theirs} coils: pass one map for each." if ours == 1 else advice
        raise ShapeError(f"maps have {coils} but k-space has {theirs} (axis 1 of kspace in {where}). {remedy}")
    wanted = tuple(kspace.shape[-ndim:]) if matrix is None else matrix
    if tuple(maps.shape[-ndim:]) != wanted:
        said = f"last {ndim} axes of kspace" if matrix is None else "matrix of the trajectory"
        raise ShapeError(
            f"maps are {_by(maps.shape[-ndim:])} but k-space is {_by(wanted)} ({said} in {where}). {advice}"
        )
    if maps.shape[0] != kspace.shape[0]:
        raise ShapeError(
            f"maps have {maps.shape[0]} slices but k-space has {kspace.shape[0]} (axis 0 of kspace in {where}). "
            f"{advice}"
        )
    lead, wanted = tuple(maps.shape[2:-ndim]), tuple(kspace.shape[2:-ndim])
    inner = lead[1:] if len(lead) == len(wanted) + 1 else lead  # the extra first axis is the map set
    if len(inner) != len(wanted) or any(a not in (1, b) for a, b in zip(inner, wanted, strict=True)):
        raise ShapeError(
            f"maps have lead axes {lead} but k-space has {wanted} (axes 2 and on of kspace in {where}). "
            "Give maps the same lead axes, or 1 for each."
        )
    _finite(maps, "maps", where)
    signal = (maps != 0).flatten(1).any(dim=1)
    if not signal.all():
        raise DataError(
            f"maps are zero everywhere in slice {int((~signal).nonzero()[0])} (axis 0 of maps for {where}). {advice}"
        )


def infer_mask(kspace: Tensor, ndim: int) -> Tensor:
    """The mask of a file that does not state it: float ``(batch or 1, *lead or 1, *spatial)``, from the zeros.

    A sample counts as unmeasured only if it is exactly zero in all coils. If the other samples fill lines (along any
    one spatial axis) except for at most one percent of holes, the holes are chance and count as measured.
    """
    seen = kspace.any(dim=1)
    candidates = [seen]
    for axis in range(-ndim, 0):
        lines = seen.any(dim=axis, keepdim=True).expand_as(seen)
        if (lines & ~seen).sum() <= ISOLATED * lines.sum():
            candidates.append(lines)
    filled = min(candidates[1:], key=lambda lines: int(lines.sum()), default=seen)
    return shared(filled, ndim).to(torch.float32).contiguous()


def filled(seen: Tensor, ndim: int) -> tuple[slice, ...] | None:
    """The block of the last `ndim` axes that contains all seen samples, if it is full, up to chance; else None.

    Args:
        seen: bool ``(..., *spatial)``; one block is used for all axes before the spatial ones.
        ndim: number of spatial axes.
    """
    block = []
    for axis in range(-ndim, 0):
        at = seen.movedim(axis, 0).flatten(1).any(1).nonzero()
        if not len(at):
            return None
        block.append(slice(int(at[0]), int(at[-1]) + 1))
    inside = seen[(..., *block)]
    return tuple(block) if inside.sum() >= (1 - ISOLATED) * inside.numel() else None


def constant(values: Tensor, axis: int) -> bool:
    """Whether the values are constant along an axis."""
    return bool((values == values.narrow(axis, 0, 1)).all())


def shared(mask: Tensor, ndim: int) -> Tensor:
    """The mask with length 1 on each axis before the last `ndim` along which it is constant."""
    for axis in range(mask.ndim - ndim):
        if constant(mask, axis):
            mask = mask.narrow(axis, 0, 1)
    return mask


def masked(kspace: Tensor, mask: Tensor, ndim: int, where: str) -> Tensor:
    """K-space times mask, where the file holds more samples than its mask admits (retrospective undersampling).

    Only k-space that is complete, except for zeros around it, is masked. Anything else is left unchanged, so that
    `check` finds the contradiction.

    Raises:
        DataError: the mask admits far less energy than it would if fft-shifted: its centre is not at ``N // 2``.
    """
    seen = kspace.any(dim=1)
    kept = (mask != 0).expand_as(seen) if _fits(mask, kspace, ndim) else None
    if kept is None or not kept.any() or not (seen & ~kept).any() or filled(seen, ndim) is None:
        return kspace
    energy = kspace.abs().square().sum(dim=1)
    shifted = torch.fft.fftshift(kept, dim=tuple(range(-ndim, 0)))
    if energy[shifted].sum() > 4 * energy[kept].sum():
        raise DataError(
            f"mask misses the centre of k-space, and fft-shifting it would not (mask in {where}). "
            "Store the mask with the centre of k-space at index N // 2."
        )
    return kspace * kept.unsqueeze(1)


def _check_trajectory(trajectory: Trajectory, kspace: Tensor, ndim: int, where: str) -> None:
    places, wanted = trajectory.places, (kspace.shape[0], *kspace.shape[2:])
    lengths = zip(places.shape[:-1], wanted, strict=False)
    fits = places.ndim == len(wanted) + 1 and all(a == b or a == 1 for a, b in lengths)
    if not fits or places.shape[-1] != ndim or len(trajectory.matrix) != ndim:
        raise ShapeError(
            f"trajectory has shape {tuple(places.shape)} but k-space is {tuple(kspace.shape)} (trajectory in {where}). "
            f"Give it the axes of k-space without the coils, and {ndim} components."
        )
    _finite(places, "trajectory", where)


def _check_mask(kspace: Tensor, mask: Tensor, ndim: int, where: str) -> None:
    if not _fits(mask, kspace, ndim):
        raise ShapeError(
            f"mask has shape {tuple(mask.shape)} but k-space is {tuple(kspace.shape)} (mask in {where}). "
            "Give the mask the axes of k-space without the coils, 1 where it is the same for all slices or frames."
        )
    if not mask.is_complex() and mask.is_floating_point() and not torch.isfinite(mask).all():
        raise DataError(f"mask holds NaN or infinite values (mask in {where}). Store 1 where measured and 0 elsewhere.")
    kept = mask != 0
    if not kept.any():
        raise DataError(f"mask is empty: no sample is marked as measured (mask in {where}). Store 1 where measured.")
    seen = kspace.any(dim=1)
    if _agree(seen, kept):
        return
    outside = int((seen & ~kept).sum())
    if outside:
        fact = f"mask marks {outside} samples as unmeasured where k-space is not zero"
    else:
        fact = f"mask marks {int((kept & ~seen).sum())} samples as measured where k-space is zero in all coils"
    raise DataError(f"{fact} (mask in {where}). {_remedy(seen, kept, ndim)}")


def _remedy(seen: Tensor, kept: Tensor, ndim: int) -> str:
    """A simple change that makes mask and k-space agree, if there is one; else general advice."""
    axes = tuple(range(-ndim, 0))
    for shift in (torch.fft.fftshift, torch.fft.ifftshift):
        if _agree(seen, shift(kept, dim=axes)):
            return "Fft-shift the mask: its centre must lie at index N // 2, as that of k-space does."
    for axis in axes:
        for steps in (1, -1, 2, -2):
            if _agree(seen, kept.roll(steps, dims=axis)):
                name = {-1: "column", -2: "row", -3: "partition"}[axis]
                return f"Shift the mask by {steps:+d} {name}{'s' * (abs(steps) > 1)}, then it agrees."
    return "Leave the mask out to take it from the zeros of k-space, or multiply k-space by the mask."


def _agree(seen: Tensor, kept: Tensor) -> bool:
    kept = kept.expand_as(seen)
    return not (seen & ~kept).any() and bool((kept & ~seen).sum() <= ISOLATED * kept.sum())


def _fits(mask: Tensor, kspace: Tensor, ndim: int) -> bool:
    wanted = (kspace.shape[0], *kspace.shape[2:])
    if mask.ndim != len(wanted) or mask.shape[-ndim:] != kspace.shape[-ndim:]:
        return False
    return all(a in (1, b) for a, b in zip(mask.shape, wanted, strict=True))


def _finite(values: Tensor, what: str, where: str, name: str = "") -> None:
    ends = torch.stack((torch.view_as_real(values) if values.is_complex() else values).aminmax())
    if torch.isfinite(ends).all():  # one pass and no copy: with NaN values, minimum and maximum are NaN
        return
    bad = ~torch.isfinite(values)
    first = tuple(bad.nonzero()[0].tolist())
    raise DataError(
        f"{what} holds {int(bad.sum())} NaN or infinite values, the first at index {first} "
        f"({name or what} in {where}). Export the data again, or set the damaged samples to zero."
    )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
