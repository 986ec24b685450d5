"""Readouts along a trajectory: stacked in file order, with the places of their samples in k-space."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from resolvent._errors import CorruptFileError, FormatError
from resolvent.data.io.limits import check_coil_images, check_unpacked
from resolvent.data.io.lines import Table, framed, measured_ends
from resolvent.data.io.mrd_header import MRDHeader
from resolvent.data.places import Trajectory

STRAY = 0.5
"""Fraction of the samples that may lie beyond the matrix and be left out; if more do, the unit is another one."""
REACH = 0.4
"""In cycles per pixel: if all places lie nearer to DC, the resolution is low or the unit is another one."""


def stack_readouts(
    table: Table, chosen: np.ndarray, slices: np.ndarray, header: MRDHeader, path: str, warn: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray, Trajectory]:
    """K-space (slice, coil, *lead, [1,] readout, sample), its mask without coils, and the places of the samples.

    Readouts of a slice and frame are in the order of the file. Shorter readouts, and frames with fewer readouts, are
    filled up with zeros. The mask leaves out these zeros, samples that the file says to discard, zeros at the ends of
    readouts (`measured_ends`), and samples more than half a cycle beyond the matrix, which no image on it explains.

    Places are in cycles per pixel of the encoded space (at most 1/2) or, if one exceeds 0.6, in cycles per field of
    view of it: both conventions are in use. The first component is x, the readout direction, then y and z. For a stack
    of planes in 3-D, whose places have two components, z comes from encoding step 2. The image has the pixels of the
    encoded space and the field of view of the recon space.

    `warn` is told if no place along x and y reaches `REACH`, and if samples lie beyond the matrix; if most do, they are
    kept.

    Raises:
        FormatError: no places, or too large a scan or matrix.
        CorruptFileError: readouts with different numbers of components.
    """
    heads, lines = table.heads[chosen], table.data[chosen]
    ndim = 3 if header.encoded.matrix[2] > 1 else 2
    places = _per_pixel(heads, table.places[chosen], header, ndim, path)
    reach = max(np.abs(where[:, :2]).max(initial=0) for where in places)
    if reach < REACH:
        warn(
            f"its trajectory reaches {reach:.2g} of the 0.5 cycles per pixel of the encoded matrix: the resolution is "
            "that much lower, or its places are in another unit than cycles per pixel or per field of view (radians, "
            "1/mm) and the image is wrong"
        )
    _, frame, shape = framed(heads["idx"], slices)
    number = np.zeros(len(frame), dtype=np.int64)  # of a readout within its frame
    for which in np.unique(frame):
        number[frame == which] = np.arange((frame == which).sum())
    readouts, samples = int(number.max()) + 1, int(heads["number_of_samples"].max())
    size = math.prod(shape) * readouts * samples
    check_unpacked(size * (table.coils * 8 + 4 + 8 * ndim), path, "k-space along the trajectory")
    matrix = tuple(header.kept(axis) for axis in range(ndim))[::-1]
    check_coil_images((shape[0], table.coils, *shape[1:], *(1,) * ndim), matrix, path)

    kspace = np.zeros((math.prod(shape), readouts, table.coils, samples), dtype=np.complex64)
    mask = np.zeros((math.prod(shape), readouts, samples), dtype=np.float32)
    where = np.zeros((math.prod(shape), readouts, samples, ndim))
    data = [line.view(np.complex64).reshape(table.coils, -1) for line in lines]
    first, last = heads["discard_pre"].astype(int), heads["number_of_samples"].astype(int) - heads["discard_post"]
    last = np.maximum(first, last)
    cut = [line[:, start:end] for line, start, end in zip(data, first, last, strict=True)]
    for n, (start, end) in enumerate(first[:, None] + measured_ends(cut, least=0)):
        at, kept = (frame[n], number[n]), slice(start, end)
        kspace[at][:, kept] = data[n][:, kept]
        mask[at][kept] = 1
        where[at][kept] = places[n][kept]

    where = where[..., ::-1] * np.array(matrix)  # (x, y, z) to (z, y, x)
    beyond = np.any(np.abs(where) > np.array(matrix) / 2 + 0.5, axis=-1)
    if 0 < beyond.sum() < STRAY * mask.sum():
        warn(f"{beyond.sum() / mask.sum():.1%} of its samples lie beyond the k-space of the matrix, and are left out")
        kspace *= ~beyond[:, :, None]
        mask[beyond], where[beyond] = 0, 0
    elif beyond.any():
        warn(
            f"{beyond.sum() / mask.sum():.0%} of its samples lie beyond the k-space of the matrix: its places are in "
            "another unit than cycles per pixel or per field of view (1/m), and the image is wrong"
        )
    lead = shape[1:]
    kspace = np.moveaxis(kspace, 2, 1).reshape(shape[0], *lead, table.coils, *(1,) * (ndim - 2), readouts, samples)
    kspace = np.ascontiguousarray(np.moveaxis(kspace, 1 + len(lead), 1))
    mask = mask.reshape(*shape, *(1,) * (ndim - 2), readouts, samples)
    where = where.reshape(*mask.shape, ndim)
    return kspace, _shared(mask, len(shape)), Trajectory(torch.from_numpy(_shared(where, len(shape))), matrix)


def _per_pixel(heads: np.ndarray, places: np.ndarray, header: MRDHeader, ndim: int, path: str) -> list[np.ndarray]:
    """Places ``(sample, ndim)`` of each readout in cycles per pixel, x first."""
    components = {0 if where is None else where.shape[1] for where in places}
    if min(components) < 2:
        raise FormatError(
            f"{path} is not Cartesian ({header.trajectory}), but its acquisitions do not give places of their samples. "
            "Export it with the trajectory, or grid it first."
        )
    if len(components) != 1:
        raise CorruptFileError(f"{path} has readouts of {sorted(components)} components. Export it again.")
    found = [where[:, :ndim].astype(np.float64) for where in places]
    if not all(np.isfinite(where).all() for where in found):
        raise CorruptFileError(f"{path} has places that are not finite. Export it again.")
    nx, ny, nz = header.encoded.matrix
    if max(np.abs(where).max(initial=0) for where in found) > 0.6:  # cycles per field of view
        found = [where / (nx, ny, nz)[: where.shape[1]] for where in found]
    if min(components) < ndim:
        centre = nz // 2 if header.centre[1] is None else header.centre[1]
        steps = (heads["idx"]["kspace_encode_step_2"].astype(np.int64) - centre) / nz
        found = [np.column_stack([where, np.full(len(where), z)]) for where, z in zip(found, steps, strict=True)]
    return found


def _shared(values: np.ndarray, axes: int) -> np.ndarray:
    """The same values, with length 1 on those of the first `axes` axes along which they are constant."""
    for axis in range(axes):
        first = values.take([0], axis)
        if (values == first).all():
            values = first
    return np.ascontiguousarray(values)
