"""Coil maps from a file of their own."""

import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import sigpy.mri.app
import torch
from io_files import crandn, write_modl

from resolvent import _errors
from resolvent.data import simulate
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


def test_maps_of_matlab_have_its_order_of_axes(tmp_path: Path):
    maps = crandn(3, 8, 10)  # coil, y, x
    with h5py.File(tmp_path / "m.mat", "w") as file:
        file["maps"] = maps.mT.contiguous().numpy()  # maps(y, x, coil) as MATLAB stores it
    assert torch.equal(read_maps(tmp_path / "m.mat"), maps[None])


def test_maps_without_frames_serve_all_of_a_series(tmp_path: Path):
    np.save(tmp_path / "m.npy", crandn(3, 8, 10).numpy())
    assert read_maps(tmp_path / "m.npy", lead=2).shape == (1, 3, 1, 1, 8, 10)
    np.save(tmp_path / "own.npy", crandn(1, 3, 5, 8, 10).numpy())
    assert read_maps(tmp_path / "own.npy", lead=1).shape == (1, 3, 5, 8, 10)
    for sets, shape in ((1, (1, 3, 1, 8, 10)), (2, (1, 3, 2, 1, 8, 10))):
        array = crandn(10, 8, 1, 3, sets).numpy()
        (tmp_path / "m.hdr").write_text(f"# Dimensions\n10 8 1 3 {sets}\n")
        array.T.tofile(tmp_path / "m.cfl")
        found = read_maps(tmp_path / "m.cfl", lead=1)
        assert found.shape == shape
        np.testing.assert_array_equal(found[0, 1, -1, ..., 4, 7].flatten()[-1], array[7, 4, 0, 1, -1])


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
    with pytest.raises(_errors.FormatError, match="coil maps cannot be read from"):
        read_maps(tmp_path / "m.nii")


def test_maps_of_sigpy_and_bart_are_read_as_they_are(tmp_path: Path):
    y, x = torch.meshgrid(torch.linspace(-1.2, 1.2, 32), torch.linspace(-1.2, 1.2, 28), indexing="ij")
    disc = (y**2 + x**2 < 1) * (1 - 0.5 * (y > 0.2) * (x > 0))
    full = simulate(disc, n_coils=4, acceleration=1, snr_db=60, seed=1)
    inside = (full.reference[0].abs() > 0.1).expand(4, -1, -1)

    np.save(
        tmp_path / "sigpy.npy",
        sigpy.mri.app.EspiritCalib(full.kspace[0].numpy(), calib_width=16, crop=0, show_pbar=False).run(),
    )
    write(full, tmp_path / "kspace.cfl")
    files = ["sigpy.npy"]
    if shutil.which("bart"):
        subprocess.run(
            ["bart", "ecalib", "-m1", "-r16", "-c0", "kspace", "bart"], cwd=tmp_path, check=True, capture_output=True
        )
        files.append("bart.cfl")
    for file in files:
        maps = read_maps(tmp_path / file)
        assert maps.shape == full.kspace.shape, file
        phase = torch.sum(maps.conj() * full.coil_maps, 1, keepdim=True)  # one phase a pixel is free
        misfit = maps[0] * phase[0] / phase[0].abs() - full.coil_maps[0]
        assert misfit[inside].abs().mean() < 0.1 * full.coil_maps[0][inside].abs().mean(), file
