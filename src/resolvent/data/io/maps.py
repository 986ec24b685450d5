"""Coil maps from a file of their own (``--maps FILE``)."""

from __future__ import annotations

from pathlib import Path

import h5py
import torch
from torch import Tensor

from resolvent._errors import FormatError, ShapeError
from resolvent.data.io.cfl import read_cfl_maps
from resolvent.data.io.detect import detect
from resolvent.data.io.hdf5 import load_complex, open_hdf5
from resolvent.data.io.npy import read_npy_array

NAMES = ("coil_maps", "maps", "sensitivities", "tstCsm", "trnCsm")
"""Datasets that are looked for, in this order."""


def read_maps(path: str | Path, ndim: int = 2) -> Tensor:
    """See `resolvent.data.io.read_maps`."""
    path = str(path)
    kind = detect(path)
    if kind == "cfl":
        return read_cfl_maps(path)
    if kind == "npy":
        values = read_npy_array(path)
    elif kind == "hdf5":
        with open_hdf5(path) as file:
            name = next((name for name in NAMES if isinstance(file.get(name), h5py.Dataset)), None)
            if name is None:
                raise FormatError(f"{path} has none of the datasets {', '.join(NAMES)}. Name the maps 'maps'.")
            values = load_complex(file[name], path)
    else:
        raise FormatError(f"{path} is an image, not coil maps. Give .cfl, .npy, or HDF5 with a dataset 'maps'.")
    if values.ndim < 1 + ndim:
        raise ShapeError(
            f"maps in {path} have shape {values.shape}, but (coil, {'z, ' * (ndim == 3)}y, x) is needed. Reshape them."
        )
    return torch.from_numpy(values[None] if values.ndim == 1 + ndim else values)
