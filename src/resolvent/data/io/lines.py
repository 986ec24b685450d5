"""Sorting of acquisitions onto the Cartesian grid: reversed lines are turned, whole ones cropped, all placed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from resolvent._errors import CorruptFileError
from resolvent.data.io.limits import MATRIX, check_unpacked
from resolvent.data.io.mrd_header import MRDHeader
from resolvent.data.io.oversampling import LINES, crop_readout

LEAD = ("contrast", "phase", "repetition", "set")
"""Counters that become lead axes, where they are `in_use`."""
AGREED = 0.75
"""Least fraction of the energy that the mean of averages must keep: that of two phases 60 degrees apart."""
ENDS = 0.05
"""Least fraction of a line that counts as not measured, where its ends are zero, or missing with oversampling."""
CUT = 0.02
"""Fraction of a line (or one sample) that may lie outside the encoded matrix: conventions for centres differ."""


@dataclass(frozen=True)
class Table:
    """All acquisitions: headers, interleaved float samples, which are reversed, number of coils, places or None."""

    heads: np.ndarray
    data: np.ndarray
    reversed: np.ndarray
    coils: int
    places: np.ndarray


def sort_lines(
    table: Table, chosen: np.ndarray, slices: np.ndarray, header: MRDHeader, path: str, warn: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray]:
    """K-space (slice, coil, *lead, z, y, x) on the encoded matrix, and the count of every sample.

    A line with encoding step e goes to row ``e - centre + N // 2``, centre from the encoding limits (``N // 2`` if
    they do not give one); its sample `center_sample` goes to column ``N // 2``. What then lies outside the matrix is
    cut off. A reversed line is turned, and its centre with it, except that the nominal centre ``n // 2`` stays.
    If every line is whole up to the fraction `ENDS`, the readout oversampling is removed before a line is placed, which
    saves half the memory. Zeros at the ends of a line, or a line of zeros, count as not measured (`measured_ends`).

    `warn` is told if more than `CUT` of a line is cut off, if lines repeat others that are not averages, and if
    averages do not agree (`agreement`).

    Raises:
        CorruptFileError: a line outside the encoded matrix.
        FormatError: a grid that the file could not fill.
    """
    heads = table.heads[chosen]
    counter = heads["idx"]
    nx, ny, nz = header.encoded.matrix
    rows = _rows(counter["kspace_encode_step_1"], header.centre[0], ny, "kspace_encode_step_1", path)
    planes = _rows(counter["kspace_encode_step_2"], header.centre[1], nz, "kspace_encode_step_2", path)
    batch, leads = counted(counter, slices)
    turned = table.reversed[chosen]
    first, last, column = _extents(heads, turned, nx, path, warn)
    cut = [
        data.view(np.complex64).reshape(table.coils, -1)[:, :: -1 if back else 1][:, start:end]
        for data, back, start, end in zip(
            table.data[chosen], turned.tolist(), first.tolist(), last.tolist(), strict=True
        )
    ]
    ends = measured_ends(cut)
    column, length = column + ends[:, 0], ends[:, 1] - ends[:, 0]
    parts = (line[:, start:end] for line, (start, end) in zip(cut, ends.tolist(), strict=True) if end > start)
    if header.readout < nx and (length[length > 0] >= (1 - ENDS) * nx).all():
        parts = _cropped(_filled(parts, column[length > 0], nx), header.readout, LINES // table.coils)
        nx, column = header.readout, np.zeros_like(column)

    sizes = (*(size for size, _ in leads), nz, ny)
    size = math.prod((len(slices), *sizes, nx)) * (table.coils * 8 + 4)
    check_unpacked(size, path, "k-space on the encoded matrix", MATRIX)
    grid = np.zeros((len(slices), table.coils, *sizes, nx), dtype=np.complex64)
    counts = np.zeros((len(slices), *sizes, nx), dtype=np.float32)
    lines = np.moveaxis(grid, 1, -2)  # the same memory, (slice, *lead, z, y, coil, x): a line is one item
    energy: dict[tuple[int, ...], float] = {}  # of all measurements of a line, where there are several
    indices = np.column_stack((batch, *(index for _, index in leads), planes, rows))[length > 0]
    places = list(map(tuple, indices.tolist()))
    for samples, place, start in zip(parts, places, column[length > 0].tolist(), strict=True):
        there = slice(start, start + samples.shape[-1])
        if counts[place][there].any():
            with np.errstate(invalid="ignore", over="ignore"):  # the check of the scan finds damaged numbers
                energy[place] = (energy.get(place) or _energy(lines[place])) + _energy(samples)
                lines[place][:, there] += samples
        else:  # most places have one line only, and storing takes half the time of adding
            lines[place][:, there] = samples
        counts[place][there] += 1
    if counts.max() > 1:
        grid /= np.maximum(counts, 1)[:, None]
        counters = np.column_stack((indices, counter["average"][length > 0]))
        times = np.unique(counters, axis=0, return_counts=True)[1]
        if 2 * (times > 1).sum() > len(times):  # navigator lines for breathing come with every shot
            warn(
                "most of its lines occur several times with the same counters, and their mean is taken, so two "
                "measurements may be mixed; split the file, or number them as averages"
            )
    with np.errstate(invalid="ignore", over="ignore"):
        agreed = agreement([(e, float(counts[at].max()) * _energy(lines[at])) for at, e in energy.items()])
    if agreed < AGREED:
        warn(
            f"its averages do not agree: their mean keeps {agreed:.0%} of the energy of the strongest lines, so the "
            "object moved or their phases differ (diffusion); number them as repetitions to reconstruct each"
        )
    return grid, counts


def measured_ends(lines: list[np.ndarray], least: float = ENDS) -> np.ndarray:
    """For every line the range (first, last + 1) of samples that are not zero in all coils; 0 and 0 if none is.

    Converters fill in zeros for what was not measured. Zeros over less than the fraction `least` of a line are no sign
    of an asymmetric echo, and count as measured.
    """
    whole = np.array([(0, line.shape[1]) for line in lines])
    ends = whole.copy()
    for n, line in enumerate(lines):
        if line.size == 0:
            continue
        if not ((line[0, 0] and line[0, -1]) or (line[:, 0].any() and line[:, -1].any())):  # most are seen by coil 0
            seen = np.flatnonzero(line.any(axis=0))
            if not len(seen):
                ends[n] = (0, 0)
            elif seen[-1] + 1 - seen[0] < (1 - least) * line.shape[1]:
                ends[n] = (seen[0], seen[-1] + 1)
    return ends if ends.any() else whole


def agreement(energies: list[tuple[float, float]]) -> float:
    """How well the averages of a scan agree, in the strongest tenth of its lines: 1 if they are the same.

    ``1 - (D - D_0) / sum |s|^2`` with ``D = sum |s|^2 - n |mean|^2``, which is ``1 / n`` where the phases of n averages
    have nothing to do with each other. D_0 is that of noise: the mean of D over the weakest tenth of the lines.

    Args:
        energies: for every averaged line, the energy of its measurements, and n times that of their mean.

    >>> agreement([(1.0, 1.0), (9.0, 4.5)])
    0.5
    """
    tenth = -(-len(energies) // 10)
    ordered = sorted(energies)
    every = sum(e for e, _ in ordered[-tenth:])
    noise = sum(e - mean for e, mean in ordered[:tenth]) / tenth if tenth else 0.0
    return 1 - sum(max(e - mean - noise, 0.0) for e, mean in ordered[-tenth:]) / every if every else 1.0


def _energy(samples: np.ndarray) -> float:
    return float(np.square(np.abs(samples), dtype=np.float64).sum())


def _filled(lines: Iterator[np.ndarray], column: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Lines ``(coil, sample)`` that begin at a column, padded with zeros on both sides to `size`."""
    for line, first in zip(lines, column.tolist(), strict=True):
        rest = size - line.shape[1]
        yield np.pad(line, ((0, 0), (first, rest - first))) if rest else line


def _cropped(lines: Iterator[np.ndarray], size: int, number: int) -> Iterator[np.ndarray]:
    """Whole lines ``(coil, sample)`` without their oversampling, `number` of them transformed at once."""
    while some := list(islice(lines, max(number, 1))):
        yield from crop_readout(torch.from_numpy(np.stack(some)), size).numpy()


def in_use(counter: np.ndarray) -> tuple[str, ...]:
    """The counters of `LEAD` that are in use: they distinguish frames that the slice and the earlier ones do not."""
    frames = np.unique(counter["slice"], return_inverse=True)[1]
    kept = []
    for name in LEAD:
        found, finer = np.unique([frames, counter[name]], axis=1, return_inverse=True)
        if found.shape[1] > frames.max() + 1:
            kept.append(name)
            frames = finer.ravel()
    return tuple(kept)


def counted(counter: np.ndarray, slices: np.ndarray) -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
    """For every acquisition its index on the batch axis, and for each lead axis in use its length and the indices."""
    leads = [np.unique(counter[name], return_inverse=True) for name in in_use(counter)]
    lookup = {int(value): n for n, value in enumerate(slices)}
    batch = np.array([lookup[int(value)] for value in counter["slice"]])
    return batch, [(len(values), index) for values, index in leads]


def framed(counter: np.ndarray, slices: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """For every acquisition its index on the batch axis and its frame number; and the shape (batch, *lead)."""
    batch, leads = counted(counter, slices)
    shape = (len(slices), *(size for size, _ in leads))
    return batch, np.ravel_multi_index((batch, *(index for _, index in leads)), shape), shape


def _extents(
    heads: np.ndarray, turned: np.ndarray, nx: int, path: str, warn: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every line the first sample that is kept, the last one plus 1, and the column of the first."""
    total, pre, post, centre = (
        heads[name].astype(np.int64) for name in ("number_of_samples", "discard_pre", "discard_post", "center_sample")
    )
    centre = np.where(turned & (centre != total // 2), total - 1 - centre, centre)
    first, last = np.where(turned, post, pre), total - np.where(turned, pre, post)
    offset = nx // 2 - centre  # column of sample 0
    measured = last - first
    first, last = np.maximum(first, -offset), np.minimum(last, nx - offset)
    if (last <= first).any():
        wrong = int(centre[last <= first][0])
        raise CorruptFileError(f"a line in {path} has no sample within the encoded matrix (center_sample {wrong}).")
    cut = measured - (last - first)
    worst = int((cut / measured).argmax())
    if cut[worst] > max(1, CUT * measured[worst]):
        warn(
            f"{cut[worst]} of {measured[worst]} samples of a line lie outside the encoded matrix (x = {nx}, "
            f"center_sample {heads['center_sample'][worst]}) and are cut off, so the image may be blurred or have "
            "the wrong scale; check matrix and center_sample in the header"
        )
    return first, last, first + offset


def _rows(step: np.ndarray, centre: int | None, size: int, name: str, path: str) -> np.ndarray:
    rows = step.astype(np.int64) + (0 if centre is None or (size == 1 and centre == 0) else size // 2 - centre)
    if rows.min() < 0 or rows.max() >= size:
        wrong = int(step[(rows < 0) | (rows >= size)][0])
        raise CorruptFileError(
            f"{name} {wrong} in {path} lies outside the encoded matrix of {size} (centre {centre}). Export it again."
        )
    return rows
