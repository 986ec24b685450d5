"""The project's own HDF5 keeps everything, bit for bit."""

from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from io_files import crandn

from resolvent import _errors
from resolvent.data.io import read, write
from resolvent.data.places import Geometry
from resolvent.data.scan import Scan
from resolvent.data.volume import Volume


def assert_same(ours: object, theirs: object) -> None:
    if isinstance(ours, Scan | Volume | Geometry):
        for field in fields(ours):
            if field.name != "source":
                assert_same(getattr(ours, field.name), getattr(theirs, field.name))
    elif isinstance(ours, torch.Tensor):
        assert isinstance(theirs, torch.Tensor) and ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    elif isinstance(ours, np.ndarray):
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert ours == theirs


def test_every_field_of_a_scan_comes_back(tmp_path: Path, scan: Scan):
    write(scan, tmp_path / "a.h5")
    found = read(tmp_path / "a.h5")
    assert_same(scan, found)
    assert found.source == str(tmp_path / "a.h5")


@pytest.mark.parametrize("counters", [(), ("phase",), ("contrast", "repetition")])
def test_what_lead_axes_count_comes_back(tmp_path: Path, scan: Scan, counters: tuple[str, ...]):
    for one in (scan.replace(counters=counters), Volume(image=crandn(2, 3, 8, 10), counters=counters)):
        write(one, tmp_path / "a.h5")
        assert read(tmp_path / "a.h5").counters == counters


def test_absent_fields_stay_absent(tmp_path: Path):
    scan = Scan(kspace=crandn(1, 2, 4, 8, 10).to(torch.complex128), mask=torch.ones(1, 4, 8, 10), ndim=3)
    write(scan, tmp_path / "a.h5")
    assert_same(scan, read(tmp_path / "a.h5"))


def test_conjugated_view_is_written_as_its_values(tmp_path: Path):
    scan = Scan(kspace=crandn(1, 2, 8, 10).conj(), mask=torch.ones(1, 8, 10))
    write(scan, tmp_path / "a.h5")
    assert torch.equal(read(tmp_path / "a.h5").kspace, scan.kspace.resolve_conj())


@pytest.mark.parametrize("image", [crandn(3, 8, 10), crandn(1, 2, 4, 8, 10), torch.rand(3, 8, 10)])
def test_image_comes_back(tmp_path: Path, affine: np.ndarray, image: torch.Tensor):
    volume = Volume(image=image, geometry=Geometry(affine), ndim=3 if image.ndim == 5 else 2)
    write(volume, tmp_path / "a.h5")
    assert_same(volume, read(tmp_path / "a.h5"))


@pytest.mark.parametrize("oriented", [True, False])
def test_whether_the_orientation_is_known_comes_back(tmp_path: Path, scan: Scan, affine: np.ndarray, oriented: bool):
    geometry = Geometry(affine, oriented)
    for content in (scan.replace(geometry=geometry), Volume(image=crandn(3, 8, 10), geometry=geometry)):
        write(content, tmp_path / "a.h5")
        assert read(tmp_path / "a.h5").geometry.oriented is oriented


def test_image_carries_its_record(tmp_path: Path):
    write(crandn(1, 8, 10), tmp_path / "a.h5", record={"model": "m"})
    with h5py.File(tmp_path / "a.h5") as file:
        assert '"model": "m"' in file["record"].asstr()[()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.attrs.modify("layout", 99), "has layout 99 but this version reads up to 2"),
        (lambda file: file.attrs.modify("kind", "song"), "holds a song of 2 axes"),
        (lambda file: file.attrs.modify("ndim", 4), "holds a scan of 4 axes"),
        (lambda file: file.__delitem__("mask"), "scan without kspace or mask"),
        (lambda file: (file.__delitem__("mask"), file.create_group("mask")), "has no dataset mask"),
        (lambda file: (file.__delitem__("mask"), file.__setitem__("mask", "text")), "dataset /mask in .* not numbers"),
    ],
)
def test_file_that_is_not_as_written_is_refused(tmp_path: Path, scan: Scan, change, message: str):
    write(scan, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        change(file)
    with pytest.raises(_errors.FormatError, match=message):
        read(tmp_path / "a.h5")


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.diag([1.0, 0, 2, 1])])
def test_affine_without_a_volume_is_no_geometry(tmp_path: Path, scan: Scan, affine: np.ndarray):
    """No other format can hold it."""
    write(scan.replace(geometry=Geometry(affine)), tmp_path / "a.h5")
    assert read(tmp_path / "a.h5").geometry is None


@pytest.mark.parametrize("shape", [(8, 10), (0, 8, 10)])
def test_image_without_its_axes_is_refused(tmp_path: Path, shape: tuple[int, ...]):
    write(Volume(image=crandn(1, 8, 10)), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["image"]
        file["image"] = np.ones(shape)
    with pytest.raises(_errors.ShapeError, match=r"image has shape .* but needs \(batch, \*lead, y, x\), none of them"):
        read(tmp_path / "a.h5")
