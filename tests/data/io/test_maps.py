"""Coil maps from a file of their own."""

import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from io_files import crandn, write_modl
from torch import Tensor

from resolvent import _errors
from resolvent.data import birdcage_maps, simulate
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


@pytest.fixture
def calibrated(tmp_path: Path) -> Scan:
    """A full scan of an oblong object, five coils, beside its k-space in a .cfl file."""
    image = torch.zeros(48, 36)
    image[8:42, 6:28] = 1.0
    full = simulate(image, maps=birdcage_maps(5, (48, 36))[None], acceleration=1, snr_db=40, seed=1)
    write(full.replace(coil_maps=None), tmp_path / "k.cfl")
    return full


def likeness(maps: Tensor, scan: Scan) -> float:
    """The smallest ``|<theirs, ours>|`` of the unit vectors of coils in a pixel of the object."""
    ours, theirs = (m / m.abs().square().sum(1, keepdim=True).sqrt() for m in (scan.maps, maps))
    return float((ours.conj() * theirs).sum(1).abs()[scan.reference.abs() > 0.5].min())


def test_maps_of_bart_are_read_as_they_are(tmp_path: Path, calibrated: Scan):
    if not shutil.which("bart"):
        pytest.skip("bart is not installed")
    subprocess.run(["bart", "ecalib", "-m1", "-c0", "k", "m"], cwd=tmp_path, check=True, capture_output=True)
    maps = read_maps(tmp_path / "m.cfl")
    assert maps.shape == (1, 5, 48, 36)
    assert likeness(maps, calibrated) > 0.99
    assert likeness(maps.flip(1), calibrated) < 0.9


def test_maps_of_sigpy_are_read_as_they_are(tmp_path: Path, calibrated: Scan):
    mri = pytest.importorskip("sigpy.mri")
    np.save(tmp_path / "m.npy", mri.app.EspiritCalib(calibrated.kspace[0].numpy(), crop=0, show_pbar=False).run())
    maps = read_maps(tmp_path / "m.npy")
    assert maps.shape == (1, 5, 48, 36)
    assert likeness(maps, calibrated) > 0.99
    assert likeness(maps.flip(1), calibrated) < 0.9


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
