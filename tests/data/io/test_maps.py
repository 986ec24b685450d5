"""Coil maps from a file of their own."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from io_files import crandn, write_modl

from resolvent import _errors
from resolvent.data.io import read, read_maps, write
from resolvent.data.scan import Scan


@pytest.mark.parametrize("name", ["maps", "coil_maps", "sensitivities"])
def test_hdf5_maps_get_a_batch_axis(tmp_path: Path, name: str):
    maps = crandn(3, 8, 10)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file[name] = maps.numpy()
    assert torch.equal(read_maps(tmp_path / "m.h5"), maps[None])


def test_npy_maps_follow_the_number_of_spatial_axes(tmp_path: Path):
    np.save(tmp_path / "m.npy", crandn(3, 4, 8, 10).numpy())
    assert read_maps(tmp_path / "m.npy").shape == (3, 4, 8, 10)
    assert read_maps(tmp_path / "m.npy", ndim=3).shape == (1, 3, 4, 8, 10)


def test_maps_of_a_scan_and_of_modl_serve(tmp_path: Path, scan: Scan):
    write(scan, tmp_path / "a.h5")
    assert torch.equal(read_maps(tmp_path / "a.h5"), scan.coil_maps)
    path = write_modl(tmp_path / "b.h5")
    assert torch.equal(read_maps(path), read(path).coil_maps)


def test_measured_maps_are_read(shared_data: Path):
    assert read_maps(shared_data / "coil_maps_8ch_64.h5").shape == (1, 8, 64, 64)


def test_files_without_maps_are_refused(tmp_path: Path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["kspace"] = np.ones(3)
    with pytest.raises(_errors.FormatError, match="has none of the datasets coil_maps, maps"):
        read_maps(tmp_path / "m.h5")
    np.save(tmp_path / "m.npy", np.ones((8, 10)))
    with pytest.raises(_errors.ShapeError, match=r"have shape \(8, 10\), but \(coil, y, x\) is needed"):
        read_maps(tmp_path / "m.npy")
    write(crandn(1, 8, 10), tmp_path / "m.nii")
    with pytest.raises(_errors.FormatError, match="is an image, not coil maps"):
        read_maps(tmp_path / "m.nii")
