"""Acquisitions onto the Cartesian grid: placed by their counters, reversed lines turned, repeats averaged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from resolvent._errors import CorruptFileError
from resolvent.data.io.limits import check_unpacked
from resolvent.data.io.mrd_header import MRDHeader

LEAD = ("contrast", "phase", "repetition", "set")
"""Counters that become lead axes, where they count beyond one."""


@dataclass(frozen=True)
class Table:
    """All acquisitions: headers, interleaved float samples, which are reversed, and the number of coils."""

    heads: np.ndarray
    data: np.ndarray
    reversed: np.ndarray
    coils: int


def sort_lines(
    table: Table, chosen: np.ndarray, slices: np.ndarray, header: MRDHeader, path: str
) -> tuple[np.ndarray, np.ndarray]:
    """K-space (slice, coil, *lead, z, y, x) on the encoded matrix and the count of measurements of every sample.

    A line with encoding step e goes to row ``e - centre + N // 2``, centre from the encoding limits (``N // 2`` if
    they do not say); its sample `center_sample` goes to column ``N // 2``. What then lies outside the matrix is
    cut off. A reversed line is turned, and its centre with it, except that the nominal centre ``n // 2`` stays.

    Raises:
        CorruptFileError: a line outside the encoded matrix.
        FormatError: a grid that the file could not fill.
    """
    heads = table.heads[chosen]
    counter = heads["idx"]
    nx, ny, nz = header.encoded.matrix
    rows = _rows(counter["kspace_encode_step_1"], header.centre[0], ny, "kspace_encode_step_1", path)
    planes = _rows(counter["kspace_encode_step_2"], header.centre[1], nz, "kspace_encode_step_2", path)
    leads = [np.unique(counter[name], return_inverse=True) for name in LEAD]
    leads = [(len(values), index) for values, index in leads if len(values) > 1]
    lookup = {int(value): n for n, value in enumerate(slices)}
    batch = np.array([lookup[int(value)] for value in counter["slice"]])

    outer = (len(slices), *(size for size, _ in leads), nz, ny)
    check_unpacked(math.prod(outer) * nx * (table.coils * 8 + 4), path, "k-space on the encoded matrix")
    place = np.ravel_multi_index((batch, *(index for _, index in leads), planes, rows), outer)
    grid = np.zeros((math.prod(outer), nx, table.coils), dtype=np.complex64)
    counts = np.zeros((math.prod(outer), nx), dtype=np.float32)

    lines, turned = table.data[chosen], table.reversed[chosen]
    for group in _alike(heads, turned):
        block = np.stack(list(lines[group])).view(np.complex64).reshape(len(group), table.coils, -1)
        total = block.shape[-1]
        first, last = int(heads["discard_pre"][group[0]]), total - int(heads["discard_post"][group[0]])
        centre = int(heads["center_sample"][group[0]])
        if turned[group[0]]:
            block = block[..., ::-1]
            first, last = total - last, total - first
            centre = centre if centre == total // 2 else total - 1 - centre
        offset = nx // 2 - centre  # column of sample 0
        first, last = max(first, -offset), min(last, nx - offset)
        if last <= first:
            raise CorruptFileError(
                f"a line in {path} has no sample within the encoded matrix (center_sample {centre})."
            )
        columns = slice(first + offset, last + offset)
        _add(grid, counts, place[group], columns, block[..., first:last].swapaxes(1, 2))
    if counts.max() > 1:
        grid /= np.maximum(counts, 1)[..., None]
    grid = np.moveaxis(grid.reshape(*outer, nx, table.coils), -1, 1)
    return np.ascontiguousarray(grid), counts.reshape(*outer, nx)


def _rows(step: np.ndarray, centre: int | None, size: int, name: str, path: str) -> np.ndarray:
    rows = step.astype(np.int64) + (0 if centre is None or (size == 1 and centre == 0) else size // 2 - centre)
    if rows.min() < 0 or rows.max() >= size:
        wrong = int(step[(rows < 0) | (rows >= size)][0])
        raise CorruptFileError(
            f"{name} {wrong} in {path} lies outside the encoded matrix of {size} (centre {centre}). Export it again."
        )
    return rows


def _alike(heads: np.ndarray, turned: np.ndarray) -> list[np.ndarray]:
    """Indices of lines of the same length, centre, discarded samples and direction: one block copy each."""
    keys = [
        heads[name].astype(np.int64) for name in ("number_of_samples", "center_sample", "discard_pre", "discard_post")
    ]
    _, group = np.unique(np.stack([*keys, turned.astype(np.int64)]), axis=1, return_inverse=True)
    group = group.reshape(-1)
    return [np.flatnonzero(group == n) for n in range(int(group.max()) + 1)]


def _add(grid: np.ndarray, counts: np.ndarray, place: np.ndarray, columns: slice, block: np.ndarray) -> None:
    """Sum the lines of `block` into the grid; repeats of a place in one go are dealt with in rounds."""
    order = np.argsort(place, kind="stable")
    ordered = place[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    repeat = np.empty(len(place), dtype=np.int64)
    repeat[order] = np.arange(len(place)) - np.repeat(starts, np.diff(np.r_[starts, len(place)]))
    for n in range(int(repeat.max()) + 1):
        now = repeat == n
        grid[place[now], columns] += block[now]
        counts[place[now], columns] += 1
