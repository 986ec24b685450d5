"""Coil maps from a separate file (``--maps FILE``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resolvent._errors import FormatError, ShapeError
from resolvent.data.io.cfl import led, read_cfl_maps
from resolvent.data.io.detect import detect
from resolvent.data.io.npy import read_npy_array

NAMES = ("coil_maps", "maps", "sensitivities", "tstCsm", "trnCsm")
"""Names of datasets with maps, in the order of the search."""


def read_maps(path: str | Path, ndim: int = 2, lead: int = 0) -> Tensor:
    """Coil maps (batch, coil, [set or lead,] *spatial) from .cfl, .npy or HDF5 (MATLAB v7.3 in MATLAB's axis order).

    Maps without a batch axis, (coil, *spatial), are given one. ``scan.replace(coil_maps=maps).validated()`` checks
    whether they fit a scan.

    Args:
        path: the file.
        ndim: number of spatial axes of the scan, which tells (coil, z, y, x) from (batch, coil, y, x).
        lead: number of its lead axes: maps without any get as many of length 1, so that they serve all frames.

    Raises:
        FormatError: no maps in the file.
        ShapeError: too few axes.
    """
    path = str(path)
    kind = detect(path)
    if kind == "cfl":
        return read_cfl_maps(path, lead)
    if kind == "npy":
        values = read_npy_array(path)
    elif kind == "hdf5":
        import h5py

        from resolvent.data.io.hdf5 import load_complex, open_hdf5
        from resolvent.data.io.mat import is_mat73

        with open_hdf5(path) as file:
            name = next((name for name in NAMES if isinstance(file.get(name), h5py.Dataset)), None)
            if name is None:
                raise FormatError(f"{path} has none of the datasets {', '.join(NAMES)}. Name the maps 'maps'.")
            values = load_complex(file[name], path)
            if is_mat73(file) and values.ndim > 1:  # rows are MATLAB's first axis, so HDF5's last
                values = np.ascontiguousarray(values.swapaxes(-1, -2))
    else:
        raise FormatError(
            f"coil maps cannot be read from {path}. Give .cfl, .npy, or HDF5 (MATLAB: v7.3) with a dataset 'maps'."
        )
    if values.ndim < 1 + ndim:
        raise ShapeError(
            f"maps in {path} have shape {values.shape}, but (coil, {'z, ' * (ndim == 3)}y, x) is needed. Reshape them."
        )
    return led(torch.from_numpy(values[None] if values.ndim == 1 + ndim else values), ndim, lead)
