"""MATLAB files of both kinds: axes, the array that is meant, CMRxRecon, and a real head."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from io_files import crandn, write_fastmri, write_mat73
from scipy.io import savemat

from resolvent import _errors
from resolvent.data.io import read
from resolvent.data.scan import Scan
from resolvent.linop.fourier import ifft

ARRAY = crandn(8, 10, 3, 2, 4).numpy()  # row, column, coil, slice, frame


def save(path: Path, kind: str, **arrays: np.ndarray) -> str:
    if kind == "7.3":
        return write_mat73(path, **arrays)
    savemat(path, arrays)
    return str(path)


def read_scan(path: str, dataset: str | None = None) -> Scan:
    found = read(path, dataset)
    assert isinstance(found, Scan)
    return found


@pytest.mark.parametrize("kind", ["5", "7.3"])
@pytest.mark.parametrize("axes", [2, 3, 4, 5])
def test_axes_are_row_column_coil_slice_frame(tmp_path: Path, kind: str, axes: int):
    array = ARRAY[(..., *(0,) * (5 - axes))]
    found = read_scan(save(tmp_path / "a.mat", kind, data=array)).kspace
    filled = array.reshape(*array.shape, *(1,) * (5 - axes))
    expected = torch.from_numpy(filled.transpose(3, 2, 4, 0, 1).copy())  # slice, coil, frame, row, column
    assert torch.equal(found, expected if axes == 5 else expected[:, :, 0])


@pytest.mark.parametrize("kind", ["5", "7.3"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint16])
def test_real_numbers_are_no_kspace(tmp_path: Path, kind: str, dtype: type):
    path = save(tmp_path / "a.mat", kind, magnitude=np.abs(ARRAY[:, :, :, 0, 0]).astype(dtype))
    with pytest.raises(_errors.DataError, match=rf"k-space is {dtype.__name__}, but .* \(magnitude in a.mat\)"):
        read(path)


@pytest.mark.parametrize("kind", ["5", "7.3"])
def test_array_is_named_if_there_are_several(tmp_path: Path, kind: str):
    path = save(tmp_path / "a.mat", kind, first=ARRAY[:, :, :, 0, 0], second=2 * ARRAY[:, :, :, 0, 0])
    assert torch.equal(read_scan(path, "second").kspace, 2 * read_scan(path, "first").kspace)
    with pytest.raises(_errors.FormatError, match=r"it holds: first \(8 x 10 x 3\).* Name one with --dataset"):
        read(path)
    with pytest.raises(_errors.FormatError, match="has no array third"):
        read(path, "third")


@pytest.mark.parametrize("name", ["kspace_full", "kspace_sub04", "kspace"])
def test_cmrxrecon_is_a_stack_of_series(tmp_path: Path, name: str):
    array = ARRAY.copy()
    if "sub" in name:
        array[:, 1::2] = 0
    found = read_scan(write_mat73(tmp_path / "cine_sax.mat", **{name: array}))
    assert found.kspace.shape == (2, 3, 4, 8, 10)  # slice, coil, frame, readout, phase encoding
    assert found.kspace[1, 2, 3, 4, 6] == complex(array[4, 6, 2, 1, 3])
    assert torch.equal(found.mask[0, 0, 0], torch.tensor([1.0, 0.0 if "sub" in name else 1.0] * 5))


def test_cmrxrecon_is_known_by_its_content(tmp_path: Path):
    path = write_mat73(tmp_path / "cine.h5", kspace_full=ARRAY)
    with h5py.File(path, "r+") as file:
        del file["kspace_full"].attrs["MATLAB_class"]
    assert read_scan(path).kspace.shape == (2, 3, 4, 8, 10)


def test_single_coil_cmrxrecon_has_no_coil_axis(tmp_path: Path):
    found = read_scan(write_mat73(tmp_path / "cine.mat", kspace_single_full=ARRAY[:, :, 0]))
    assert found.kspace.shape == (2, 1, 4, 8, 10)


def test_six_axes_are_refused(tmp_path: Path):
    with pytest.raises(_errors.ShapeError, match="has 6 axes, not"):
        read(save(tmp_path / "a.mat", "5", data=crandn(2, 2, 2, 2, 2, 2).numpy()))


def test_text_and_cells_are_no_kspace(tmp_path: Path):
    path = save(tmp_path / "a.mat", "5", note="hello", cells=np.array([[1, "a"]], dtype=object))
    with pytest.raises(_errors.FormatError, match="it holds: none"):
        read(path)


def test_dataset_of_another_format_is_refused(tmp_path: Path):
    np.save(tmp_path / "a.npy", crandn(8, 10).numpy())
    for path in (write_fastmri(tmp_path / "a.h5", crandn(1, 2, 8, 10).numpy()), tmp_path / "a.npy"):
        with pytest.raises(_errors.FormatError, match=r"is no \.mat or ISMRMRD file, so kspace cannot be chosen"):
            read(path, "kspace")


def test_real_head_lies_inside_its_image(shared_data: Path):
    found = read_scan(str(shared_data / "head_t1_sagittal_1ch_kspace.mat"))
    assert found.kspace.shape == (1, 1, 256, 256)
    image = ifft(found.kspace)[0, 0].abs()
    # a centre of k-space taken for another would swap the middle and the edges: the ratio would be below 1
    assert image[64:192, 64:192].square().mean() > 1.5 * image[:, :16].square().mean()
