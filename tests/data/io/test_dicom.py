"""DICOM series: valid by an independent checker, right in the patient, and about no patient."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from io_files import crandn

from resolvent import _errors
from resolvent.data.io import write
from resolvent.data.places import Geometry
from resolvent.data.scan import Scan
from resolvent.data.volume import Volume

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")


@pytest.fixture
def series(tmp_path: Path, affine: np.ndarray) -> tuple[Volume, list[Path]]:
    """Three slices, in small units."""
    volume = Volume(image=1e-5 * crandn(3, 8, 10), geometry=Geometry(affine))
    write(volume, tmp_path / "out.dcm")
    return volume, sorted(tmp_path.glob("*.dcm"))


def valid(path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert "MRImage" in said
    assert "Error" not in said, said


def test_checker_finds_no_error(series):
    valid(series[1][1])


@pytest.mark.parametrize(
    "volume",
    [Volume(image=crandn(2, 3, 8, 10)), Volume(image=1e9 * crandn(1, 8, 10)), Volume(image=torch.zeros(1, 8, 10))],
)
def test_checker_finds_no_error_in_series_without_place(tmp_path: Path, volume: Volume):
    write(volume, tmp_path / "out.dcm")
    paths = sorted(tmp_path.glob("*.dcm"))
    assert len(paths) == volume.image[..., 0, 0].numel()
    valid(paths[-1])


def test_pixels_times_slope_are_the_magnitude(series):
    volume, paths = series
    for one, path in zip(volume.image.abs().double().numpy(), paths, strict=True):
        found = pydicom.dcmread(path)
        step = float(found.RescaleSlope)
        np.testing.assert_allclose(found.pixel_array * step, one, atol=0.51 * step)
    assert max(pydicom.dcmread(path).pixel_array.max() for path in paths) >= 65534


def test_images_that_differ_in_any_way_have_other_identifiers(tmp_path: Path, affine: np.ndarray):
    image = torch.randint(100, (1, 2, 8, 10)) / 8
    moved = affine + np.eye(4, k=3)
    volumes = [
        Volume(image),
        Volume(2 * image),
        Volume(image.reshape(1, 2, 10, 8)),
        Volume(image[0]),
        *(Volume(image, Geometry(place, oriented)) for place in (affine, moved) for oriented in (True, False)),
        Volume(image, counters=("contrast",)),
    ]
    found = set()
    for number, volume in enumerate(volumes):
        write(volume, tmp_path / f"{number}.dcm")
        one = pydicom.dcmread(tmp_path / f"{number}-001.dcm")
        found |= {one.SOPInstanceUID, one.SeriesInstanceUID, one.StudyInstanceUID}
    assert len(found) == 3 * len(volumes)


def test_known_voxel_lands_on_known_world_point(series, affine: np.ndarray):
    for number, path in enumerate(series[1]):
        found = pydicom.dcmread(path)
        along, down = np.array(found.ImageOrientationPatient).reshape(2, 3)  # as the column index grows, and the row
        between_rows, between_columns = found.PixelSpacing
        lps = np.array(found.ImagePositionPatient) + 7 * between_columns * along + 2 * between_rows * down
        np.testing.assert_allclose(lps * [-1, -1, 1], (affine @ [7, 2, number, 1])[:3], atol=1e-4)
        assert float(found.SliceThickness) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("oriented", "said"),
    [
        (True, ""),
        (False, "; position and orientation are unknown"),
        (None, "; position, orientation and voxel size are"),
    ],
)
def test_description_says_what_is_unknown(tmp_path: Path, affine: np.ndarray, oriented: bool | None, said: str):
    geometry = None if oriented is None else Geometry(affine, oriented)
    write(Volume(image=crandn(1, 8, 10), geometry=geometry), tmp_path / "out.dcm")
    text = pydicom.dcmread(tmp_path / "out.dcm").DerivationDescription
    assert said in text and ("unknown" in text) == bool(said)


def test_volume_is_a_series_of_its_planes(tmp_path: Path, affine: np.ndarray):
    image = crandn(1, 4, 8, 10)
    write(Volume(image=image, geometry=Geometry(affine), ndim=3), tmp_path / "out.dcm")
    third = pydicom.dcmread(tmp_path / "out-003.dcm")
    np.testing.assert_allclose(third.pixel_array * float(third.RescaleSlope), image[0, 2].abs(), atol=1e-4)
    np.testing.assert_allclose(
        np.array(third.ImagePositionPatient) * [-1, -1, 1], (affine @ [0, 0, 2, 1])[:3], atol=1e-4
    )
    with pytest.raises(_errors.ShapeError, match="2 volumes are no series"):
        write(Volume(image=crandn(2, 4, 8, 10), ndim=3), tmp_path / "two.dcm")


def test_series_is_derived_and_about_nobody(series):
    found = [pydicom.dcmread(path) for path in series[1]]
    assert all(one.ImageType[0] == "DERIVED" for one in found)
    assert len({one.SeriesInstanceUID for one in found}) == 1
    assert len({one.SOPInstanceUID for one in found}) == 3
    assert [one.InstanceNumber for one in found] == [1, 2, 3]
    named = [element for one in found for element in one if element.tag.group == 0x0010]
    assert len(named) == 3 * 4
    assert all(not element.value for element in named)  # name, number, birth and sex: there, and empty
    assert all(not one.StudyDate and not one.AccessionNumber for one in found)


def test_same_image_has_the_same_identifiers(tmp_path: Path, series):
    write(series[0], tmp_path / "again.dcm")
    again = [pydicom.dcmread(path).SOPInstanceUID for path in sorted(tmp_path.glob("again*.dcm"))]
    assert again == [pydicom.dcmread(path).SOPInstanceUID for path in series[1]]


def test_scan_is_no_dicom(tmp_path: Path):
    scan = Scan(kspace=crandn(1, 2, 8, 10), mask=torch.ones(1, 8, 10))
    with pytest.raises(_errors.FormatError, match="a format for images, but a scan was given"):
        write(scan, tmp_path / "out.dcm")


@pytest.mark.parametrize(
    ("counters", "echoes", "times"),
    [
        (("contrast", "repetition"), [1, 1, 1, 2, 2, 2], [1, 2, 3, 1, 2, 3]),
        (("phase", "repetition"), [None] * 6, [1, 2, 3, 4, 5, 6]),
        ((), [None] * 6, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_contrasts_are_echoes_and_all_else_is_time(tmp_path: Path, counters: tuple, echoes: list, times: list):
    names = write(Volume(image=crandn(1, 2, 3, 8, 10), counters=counters), tmp_path / "a.dcm")
    found = [pydicom.dcmread(name) for name in names]
    assert [one.EchoNumbers if one.get("EchoNumbers") else None for one in found] == echoes
    assert [one.TemporalPositionIdentifier for one in found] == times
    assert {one.NumberOfTemporalPositions for one in found} == {max(times)}
