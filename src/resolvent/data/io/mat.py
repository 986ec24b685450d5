"""MATLAB .mat k-space: version 5 with SciPy, version 7.3 (HDF5, among them CMRxRecon) with h5py."""

from __future__ import annotations

import math
import re
from pathlib import Path

import h5py
import numpy as np
import torch

from resolvent._errors import FormatError, ShapeError
from resolvent.data.io.hdf5 import load_kspace
from resolvent.data.io.limits import check_unpacked, decoding
from resolvent.data.scan import Scan
from resolvent.data.validation import check_complex, infer_mask

CMRXRECON = re.compile(r"kspace(_single)?(_full|_sub\d+)?$")
"""Names of k-space in CMRxRecon files."""


def is_mat73(file: h5py.File) -> bool:
    """Whether the file is named .mat, or a dataset in it was written by MATLAB or is from CMRxRecon."""
    return str(file.filename).lower().endswith(".mat") or any(_is_matlab(name, item) for name, item in file.items())


def _is_matlab(name: str, item: object) -> bool:
    if not isinstance(item, h5py.Dataset):
        return False
    pair = item.dtype.names == ("real", "imag")
    return "MATLAB_class" in item.attrs or (pair and bool(CMRXRECON.match(name)))


def read_mat73(file: h5py.File, path: str, dataset: str | None = None) -> Scan:
    """K-space of a version 7.3 file; MATLAB's first axis is HDF5's last. See `_scan` for the axes.

    Raises:
        FormatError: no array, or several and none named.
    """
    arrays = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset) and item.ndim >= 2}
    name = _chosen({key: item.shape[::-1] for key, item in arrays.items()}, dataset, path)
    return _scan(load_kspace(arrays[name], path).transpose(), name, path)


def read_mat5(path: str, dataset: str | None = None) -> Scan:
    """K-space of a version 5 file. See `_scan` for the axes.

    Raises:
        FormatError: no array, or several and none named.
        CorruptFileError: truncated or damaged.
    """
    from scipy import io

    with decoding(path), open(path, "rb") as file:  # an open file: given a name, SciPy may add a suffix
        listed = {key: shape for key, shape, kind in io.whosmat(file) if len(shape) >= 2 and kind in NUMERIC}
        name = _chosen(listed, dataset, path)
        check_unpacked(math.prod(listed[name]) * 16, path, f"array {name}")
        file.seek(0)
        array = io.loadmat(file, variable_names=[name])[name]
        if array.dtype.kind not in "cfiu":
            raise FormatError(f"array {name} in {path} holds {array.dtype}, not numbers. Check the export.")
    check_complex(array.dtype, Path(path).name, name)
    return _scan(array.astype(array.dtype.newbyteorder("=")), name, path)


NUMERIC = ("double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
"""Classes of MATLAB that hold numbers."""


def _chosen(shapes: dict[str, tuple[int, ...]], dataset: str | None, path: str) -> str:
    """The array that was asked for; else the only one, or the only one with a name for k-space."""
    shown = ", ".join(f"{name} ({' x '.join(map(str, shape))})" for name, shape in list(shapes.items())[:8]) or "none"
    if dataset is not None:
        if dataset not in shapes:
            raise FormatError(f"{path} has no array {dataset}; it holds: {shown}. Name one of them with --dataset.")
        return dataset
    named = [name for name in shapes if name.lower().startswith(("kspace", "ksp", "rawdata"))]
    for candidates in (list(shapes), named):
        if len(candidates) == 1:
            return candidates[0]
    raise FormatError(f"{path} does not say which array is k-space; it holds: {shown}. Name one with --dataset.")


def _scan(array: np.ndarray, name: str, path: str) -> Scan:
    """MATLAB's axes (row, column[, coil[, slice[, frame]]]); CMRxRecon's are the same, its readout along rows.

    Arrays of CMRxRecon named ``single`` have no coil axis: (row, column, slice, frame).

    Raises:
        ShapeError: more axes than these.
    """
    if "single" in name and CMRXRECON.match(name):
        array = array[:, :, None]
    array = array.reshape(*array.shape, *(1,) * (4 - array.ndim))
    if array.ndim > 5:
        raise ShapeError(
            f"{name} in {path} has {array.ndim} axes, not (row, column, coil, slice, frame). Reshape or split it."
        )
    order = (3, 2, *range(4, array.ndim), 0, 1)
    kspace = torch.from_numpy(np.ascontiguousarray(array.transpose(order)))
    if kspace.ndim == 5 and kspace.shape[2] == 1:
        kspace = kspace[:, :, 0]
    readout = -2 if CMRXRECON.match(name) else None
    return Scan(kspace=kspace, mask=infer_mask(kspace, 2), source=str(Path(path)), readout=readout)
