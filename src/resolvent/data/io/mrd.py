"""ISMRMRD (MRD version 1) HDF5: the acquisition table in one pass."""

from __future__ import annotations

import warnings

import h5py
import numpy as np

from resolvent._errors import CorruptFileError, FormatError, ScanWarning
from resolvent.data.io.acquisitions import scan_of
from resolvent.data.io.hdf5 import load, required, text
from resolvent.data.io.limits import check_unpacked
from resolvent.data.io.mrd_header import parse_header
from resolvent.data.scan import Scan

ROWS = 512
"""Acquisitions that are read at once; their size is checked before the next are read."""


def mrd_groups(file: h5py.File) -> list[str]:
    """Names of the groups that hold an ISMRMRD dataset (``data`` and ``xml``)."""
    return [name for name, item in file.items() if isinstance(item, h5py.Group) and "data" in item and "xml" in item]


def read_mrd(file: h5py.File, path: str, dataset: str | None = None) -> Scan:
    """The acquisitions as a scan; see `resolvent.data.io.acquisitions.scan_of`.

    Of several groups, the one named `dataset` is read; if none is named, the first, with a warning.

    Raises:
        FormatError: no image lines, no places where it is not Cartesian, too large, or no such group.
        CorruptFileError: a table that contradicts itself.
    """
    names = mrd_groups(file)
    shown = ", ".join(names[:8])
    if dataset is not None and dataset not in names:
        raise FormatError(f"{path} has no group {dataset} of acquisitions; it holds: {shown}. Name one with --dataset.")
    if dataset is None and len(names) > 1:
        said = f"it holds {len(names)} measurements ({shown}) of which {names[0]} is read; name another with --dataset"
        warnings.warn(ScanWarning(path, said), stacklevel=4)
    group = file[dataset or names[0]]
    header = parse_header(text(load(required(group, "xml", path), path)), path)
    heads, lines, places = _table(required(group, "data", path), path)
    return scan_of(heads, lines, header, path, places)


def _table(table: h5py.Dataset, path: str) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray] | None]:
    """Headers, samples and, if there are any, places ``(sample, component)`` of all acquisitions."""
    if not {"head", "data"} <= set(table.dtype.names or ()) or table.ndim != 1 or table.shape[0] == 0:
        raise FormatError(f"dataset {table.name} in {path} is no table of acquisitions. Export it again.")
    check_unpacked(table.shape[0] * table.dtype.itemsize, path, f"dataset {table.name}")
    heads, lines, places, held = [], [], [], 0
    for start in range(0, table.shape[0], ROWS):
        rows = table[start : start + ROWS]
        heads.append(rows["head"].copy())
        lines += list(rows["data"])
        if "traj" in rows.dtype.names:
            places += list(rows["traj"])
        held += sum(line.nbytes for line in (*lines[start:], *places[start:]))
        check_unpacked(held, path, f"dataset {table.name}")
    head = np.concatenate(heads)
    samples = head["number_of_samples"].astype(np.int64)
    _agree(lines, 2 * samples * head["active_channels"], 2, "complex samples", path)
    if not places or "trajectory_dimensions" not in (head.dtype.names or ()) or not head["trajectory_dimensions"].any():
        return head, lines, None
    _agree(places, samples * head["trajectory_dimensions"], 1, "coordinates of places", path)
    return head, lines, [place.reshape(n, -1) for place, n in zip(places, samples, strict=True)]


def _agree(parts: list[np.ndarray], declared: np.ndarray, unit: int, what: str, path: str) -> None:
    """Refuse an acquisition that holds another number of values than its header declares."""
    held = np.array([len(part) for part in parts])
    for n in (held != declared).nonzero()[0][:1]:
        raise CorruptFileError(
            f"acquisition {n} in {path} declares {declared[n] // unit} {what} but holds {held[n] / unit:g}. "
            "Copy or export it again."
        )
