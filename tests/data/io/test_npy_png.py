"""NPY keeps complex images as they are; PNG shows them."""

import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from io_files import crandn
from PIL import Image

from resolvent import _errors
from resolvent.data.io import read, write


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_npy_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype):
    image = crandn(3, 2, 8, 10).to(dtype)
    write(image, tmp_path / "a.npy")
    assert torch.equal(read(tmp_path / "a.npy").image, image)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_single_slice_gets_a_batch_axis(tmp_path: Path, version: tuple[int, int]):
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, np.ones((8, 10), np.float32), version=version)
    assert read(tmp_path / "a.npy").image.shape == (1, 8, 10)


def test_pickle_in_npy_is_never_loaded(tmp_path: Path):
    class Gadget:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    np.save(tmp_path / "a.npy", np.array([Gadget()], dtype=object), allow_pickle=True)
    with pytest.raises(_errors.FormatError, match="holds object, not numbers"):
        read(tmp_path / "a.npy")
    assert not (tmp_path / "owned").exists()


def test_npy_shorter_than_it_says_is_refused(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.ones((8, 10)))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-1])
    with pytest.raises(_errors.CorruptFileError, match="shorter than the 640 bytes it declares"):
        read(tmp_path / "a.npy")


def test_npy_that_declares_terabytes_is_refused(tmp_path: Path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<c8", "fortran_order": False, "shape": (2**20, 2**20)})
    with pytest.raises(_errors.FormatError, match="would unpack to 16384 GiB"):
        read(tmp_path / "a.npy")


def test_one_axis_is_no_image(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.ones(8))
    with pytest.raises(_errors.ShapeError, match=r"has shape \(8,\), but an image needs"):
        read(tmp_path / "a.npy")


def test_png_is_the_magnitude_from_zero_to_the_largest_value(tmp_path: Path):
    image = crandn(1, 8, 10)
    write(image, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        grey, top = np.asarray(picture).astype(float), float(picture.info["window_max"])
    assert grey.max() == 65535
    assert top == pytest.approx(float(image.abs().max()))
    np.testing.assert_allclose(grey * top / 65535, image[0].abs().numpy(), atol=top / 65535)


def test_slices_and_frames_lie_side_by_side(tmp_path: Path):
    image = torch.arange(1.0, 6.0).reshape(5, 1, 1, 1).expand(5, 1, 8, 10)
    write(image, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        grey = np.asarray(picture).astype(float)
    assert grey.shape == (2 * 8, 3 * 10)
    corners = np.round(grey[::8, ::10] * 5 / 65535).astype(int)
    assert corners.tolist() == [[1, 2, 3], [4, 5, 0]]


def test_png_of_nothing_is_black(tmp_path: Path):
    write(torch.zeros(1, 8, 10), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert np.asarray(picture).max() == 0
        assert math.isclose(float(picture.info["window_max"]), 0)


def test_png_cannot_be_read(tmp_path: Path):
    write(torch.ones(1, 8, 10), tmp_path / "a.png")
    with pytest.raises(_errors.FormatError, match="PNG file, which cannot be read"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".npy", ".nii"])
def test_numbers_beyond_single_precision_are_called_so(tmp_path: Path, suffix: str):
    array = np.ones((10, 8, 3))
    array[1, 2, 0] = -1e39
    np.save(tmp_path / "a.npy", array)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(_errors.DataError, match=rf"a{suffix} holds 1e\+39, beyond single precision. Scale it down"):
        read(tmp_path / f"a{suffix}")
