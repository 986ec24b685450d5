"""NIfTI: voxels, affine and sizes."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from io_files import crandn

from resolvent import _errors
from resolvent.data.io import read, write
from resolvent.data.places import Geometry
from resolvent.data.volume import Volume


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_known_voxel_lands_on_known_world_point(tmp_path: Path, affine: np.ndarray, suffix: str):
    image = torch.zeros(3, 8, 10)
    image[2, 5, 7] = 1  # slice 2, row 5, column 7
    write(Volume(image=image, geometry=Geometry(affine)), tmp_path / f"a{suffix}")
    theirs = nibabel.load(tmp_path / f"a{suffix}")
    voxel = np.argwhere(theirs.get_fdata() == 1)[0]
    assert voxel.tolist() == [7, 5, 2]
    np.testing.assert_allclose(theirs.affine @ [*voxel, 1], affine @ [7, 5, 2, 1], atol=1e-4)
    np.testing.assert_allclose(theirs.get_qform(), affine, atol=1e-4)
    assert theirs.header.get_xyzt_units()[0] == "mm"


def test_image_of_nibabel_is_read_with_its_affine(tmp_path: Path, affine: np.ndarray):
    array = np.random.default_rng(0).integers(-100, 100, (10, 8, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "a.nii.gz")
    found = read(tmp_path / "a.nii.gz")
    assert isinstance(found, Volume)
    np.testing.assert_array_equal(found.image.numpy(), array.transpose(2, 1, 0).astype(np.complex64))
    np.testing.assert_allclose(found.geometry.affine, affine, atol=1e-5)


@pytest.mark.parametrize(("unit", "millimetres"), [("unknown", 1), ("mm", 1), ("micron", 1e-3), ("meter", 1e3)])
def test_affine_is_in_millimetres_whatever_the_unit_of_the_file(
    tmp_path: Path, affine: np.ndarray, unit: str, millimetres: float
):
    image = nibabel.Nifti1Image(np.ones((10, 8, 3), np.float32), affine)
    image.header.set_xyzt_units(unit, "sec")
    nibabel.save(image, tmp_path / "a.nii")
    wanted = np.diag([millimetres] * 3 + [1]) @ affine
    np.testing.assert_allclose(read(tmp_path / "a.nii").geometry.affine, wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_complex_frames_become_a_lead_axis(tmp_path: Path, kind: type):
    array = crandn(10, 8, 3, 2).numpy()
    kind(array, np.eye(4)).to_filename(tmp_path / "a.nii")
    np.testing.assert_array_equal(read(tmp_path / "a.nii").image.numpy(), array.transpose(2, 3, 1, 0))


def test_scaled_integers_are_read_in_their_units(tmp_path: Path):
    image = nibabel.Nifti1Image(np.arange(80, dtype=np.int16).reshape(10, 8), np.eye(4))
    image.header.set_slope_inter(0.5, 3)
    image.to_filename(tmp_path / "a.nii")
    found = read(tmp_path / "a.nii").image
    assert found.shape == (1, 8, 10)
    assert found[0, 1, 2].real == pytest.approx(nibabel.load(tmp_path / "a.nii").get_fdata()[2, 1])


def test_name_decides_nothing(tmp_path: Path):
    nibabel.save(nibabel.Nifti1Image(np.ones((10, 8, 3), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "scan.h5").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    assert read(tmp_path / "scan.h5").image.shape == (3, 8, 10)


def test_big_endian_is_read(tmp_path: Path):
    array = np.arange(240, dtype=">f4").reshape(10, 8, 3)
    nibabel.Nifti1Image(array, np.eye(4), nibabel.Nifti1Header(endianness=">")).to_filename(tmp_path / "a.nii")
    np.testing.assert_array_equal(read(tmp_path / "a.nii").image.numpy().real, array.transpose(2, 1, 0))


@pytest.mark.parametrize(("shape", "ndim", "expected"), [
    ((3, 8, 10), 2, (10, 8, 3)),
    ((3, 4, 8, 10), 2, (10, 8, 3, 4)),
    ((1, 6, 8, 10), 3, (10, 8, 6)),
    ((1, 4, 6, 8, 10), 3, (10, 8, 6, 4)),
    ((2, 6, 8, 10), 3, (10, 8, 6, 2)),
])  # fmt: skip
def test_axes_of_the_file(tmp_path: Path, shape: tuple, ndim: int, expected: tuple):
    image = crandn(*shape)
    write(Volume(image=image, ndim=ndim), tmp_path / "a.nii")
    found = nibabel.load(tmp_path / "a.nii").get_fdata()
    assert found.shape == expected
    sample = image[(0,) * (len(shape) - 2)][2, 3].abs()
    assert found[(3, 2) + (0,) * (len(expected) - 2)] == pytest.approx(float(sample))


def test_complex_image_is_written_as_magnitude_and_says_so(tmp_path: Path):
    write(crandn(1, 8, 10), tmp_path / "a.nii")
    found = nibabel.load(tmp_path / "a.nii")
    assert found.get_data_dtype() == np.float32
    assert found.header["descrip"].item() == b"resolvent; magnitude"


def test_image_without_geometry_claims_none(tmp_path: Path):
    write(crandn(1, 8, 10), tmp_path / "a.nii")
    header = nibabel.load(tmp_path / "a.nii").header
    assert header["sform_code"] == header["qform_code"] == 0


def test_unknown_orientation_is_not_claimed_and_not_read_back(tmp_path: Path, affine: np.ndarray):
    write(Volume(image=crandn(3, 8, 10), geometry=Geometry(affine, oriented=False)), tmp_path / "a.nii")
    header = nibabel.load(tmp_path / "a.nii").header
    assert header["sform_code"] == header["qform_code"] == 0
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(header.get_zooms(), lengths, rtol=1e-5)
    assert header.get_xyzt_units()[0] == "mm"
    found = read(tmp_path / "a.nii").geometry
    assert not found.oriented
    np.testing.assert_allclose(np.linalg.norm(found.affine[:3, :3], axis=0), lengths, rtol=1e-5)


@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (0, 1), (2, 3)])
def test_one_code_is_enough_to_be_oriented(tmp_path: Path, affine: np.ndarray, sform: int, qform: int):
    image = nibabel.Nifti1Image(np.ones((10, 8, 3), np.float32), affine)
    image.set_sform(affine, code=sform)
    image.set_qform(affine, code=qform)
    image.to_filename(tmp_path / "a.nii")
    found = read(tmp_path / "a.nii").geometry
    assert found.oriented
    np.testing.assert_allclose(found.affine, affine, atol=1e-4)


def test_declared_size_beyond_the_file_is_refused(tmp_path: Path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((400, 400, 4))
    header.set_data_dtype(np.float32)
    header["magic"], header["vox_offset"] = b"n+1\0", 352
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(100))
    with pytest.raises(_errors.CorruptFileError, match=r"holds 448 bytes but its header declares 2560352"):
        read(tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(100)))
    with pytest.raises(_errors.CorruptFileError, match="unpacks to 448 bytes but its header declares 2560352"):
        read(tmp_path / "b.nii.gz")


def test_bomb_is_refused_from_its_header(tmp_path: Path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((32767, 32767, 32767))
    header["magic"], header["vox_offset"] = b"n+1\0", 352
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(2**20)))
    with pytest.raises(_errors.FormatError, match=r"would unpack to .* more than the limit of 16 GiB"):
        read(tmp_path / "a.nii.gz")
    header.set_data_shape((512, 512, 200))
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(2**20)))
    with pytest.raises(_errors.FormatError, match="more than 250 times the size of the file"):
        read(tmp_path / "b.nii.gz")


def test_stream_longer_than_declared_is_refused(tmp_path: Path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((4, 4, 4))
    header["magic"], header["vox_offset"] = b"n+1\0", 352
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(2**22)))
    with pytest.raises(_errors.FormatError, match="unpacks to more than the 608 bytes"):
        read(tmp_path / "a.nii.gz")


def test_colours_and_pairs_are_refused(tmp_path: Path):
    colours = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.Nifti1Image(colours, np.eye(4)).to_filename(tmp_path / "a.nii")
    with pytest.raises(_errors.FormatError, match="not grey values"):
        read(tmp_path / "a.nii")
    nibabel.Nifti1Pair(np.zeros((4, 4, 4), np.float32), np.eye(4)).to_filename(tmp_path / "b.img")
    with pytest.raises(_errors.FormatError, match="header of a two-file image"):
        read(tmp_path / "b.hdr")


def test_nan_in_an_image_is_refused(tmp_path: Path):
    nibabel.Nifti1Image(np.full((4, 4, 4), np.nan, np.float32), np.eye(4)).to_filename(tmp_path / "a.nii")
    with pytest.raises(_errors.DataError, match=r"image holds NaN or infinite values \(image in a.nii\)"):
        read(tmp_path / "a.nii")


def test_image_that_nifti_cannot_hold_is_refused(tmp_path: Path):
    with pytest.raises(_errors.ShapeError, match="at most 7 axes of 32767 voxels"):
        write(torch.zeros(1, 2, 40000), tmp_path / "a.nii")
