"""ISMRMRD (MRD version 1) HDF5: the acquisition table in two reads."""

from __future__ import annotations

import h5py
import numpy as np

from resolvent._errors import CorruptFileError, FormatError
from resolvent.data.io.acquisitions import scan_of
from resolvent.data.io.hdf5 import load, required, text
from resolvent.data.io.limits import check_unpacked
from resolvent.data.io.mrd_header import parse_header
from resolvent.data.scan import Scan


def mrd_group(file: h5py.File) -> str | None:
    """Name of the group that holds an ISMRMRD dataset (``data`` and ``xml``), if there is one."""
    for name, item in file.items():
        if isinstance(item, h5py.Group) and "data" in item and "xml" in item:
            return name
    return None


def read_mrd(file: h5py.File, path: str) -> Scan:
    """The acquisitions as a scan; see `resolvent.data.io.acquisitions.scan_of`.

    Raises:
        FormatError: no image lines, not Cartesian and without places, or sizes that the file cannot hold.
        CorruptFileError: a table that contradicts itself.
    """
    group = file[mrd_group(file)]
    header = parse_header(text(load(required(group, "xml", path), path)), path)
    table = required(group, "data", path)
    heads, data = _bulk(table, path)
    return scan_of(heads, data, header, path, _places(table, heads, path))


def _bulk(table: h5py.Dataset, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Headers and samples of all acquisitions, two reads in all."""
    names = table.dtype.names or ()
    if not {"head", "data"} <= set(names) or table.ndim != 1 or table.shape[0] == 0:
        raise FormatError(f"dataset {table.name} in {path} is no table of acquisitions. Export it again.")
    check_unpacked(table.shape[0] * table.dtype.itemsize, path, f"dataset {table.name}")
    heads = table.fields("head")[:]
    samples = heads["number_of_samples"].astype(np.int64) * heads["active_channels"].astype(np.int64)
    check_unpacked(int(samples.sum()) * 8, path, f"dataset {table.name}")
    data = table.fields("data")[:]
    held = np.fromiter((len(line) for line in data), dtype=np.int64, count=len(data))
    if (held != 2 * samples).any():
        n = int((held != 2 * samples).nonzero()[0][0])
        raise CorruptFileError(
            f"acquisition {n} in {path} declares {samples[n]} complex samples but holds {held[n] / 2:g}. "
            "Copy or export it again."
        )
    return heads, data


def _places(table: h5py.Dataset, heads: np.ndarray, path: str) -> list[np.ndarray] | None:
    """The trajectory of each acquisition, ``(sample, component)``; None where the file has none."""
    names = heads.dtype.names or ()
    if "trajectory_dimensions" not in names or "traj" not in (table.dtype.names or ()):
        return None
    components = heads["trajectory_dimensions"].astype(np.int64)
    if not components.any():
        return None
    samples = heads["number_of_samples"].astype(np.int64)
    check_unpacked(int((samples * components).sum()) * 4, path, f"trajectories in {table.name}")
    lines = table.fields("traj")[:]
    held = np.fromiter((len(line) for line in lines), dtype=np.int64, count=len(lines))
    if (held != samples * components).any():
        n = int((held != samples * components).nonzero()[0][0])
        raise CorruptFileError(
            f"acquisition {n} in {path} declares {samples[n]} places of {components[n]} components but holds {held[n]} "
            "numbers. Copy or export it again."
        )
    return [line.reshape(n, -1) for line, n in zip(lines, samples, strict=True)]
