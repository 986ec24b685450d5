"""MoDL files: k-space is simulated from image, maps and the uncentred mask."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from io_files import write_modl

from resolvent import _errors
from resolvent.data.io import read
from resolvent.data.scan import Scan
from resolvent.linop.fourier import fft


def test_kspace_is_simulated_under_the_shifted_mask(tmp_path: Path):
    found = read(write_modl(tmp_path / "a.h5"))
    assert isinstance(found, Scan)
    assert torch.equal(found.mask[0, 0].nonzero().flatten(), torch.tensor([3, 4, 5, 6]))  # the middle of ten columns
    full = fft(found.coil_maps * found.reference[:, None])
    torch.testing.assert_close(found.kspace, full * found.mask[:, None])


def test_uncentred_formula_of_the_layout_gives_the_same_zero_filled_image(tmp_path: Path):
    path = write_modl(tmp_path / "a.h5")
    with h5py.File(path) as file:
        image, maps, mask = (file["trn" + part][:] for part in ("Org", "Csm", "Mask"))
    theirs = np.fft.fft2(maps * image[:, None], norm="ortho") * mask[:, None]
    theirs = (np.fft.ifft2(theirs, norm="ortho") * maps.conj()).sum(axis=1)
    found = read(path)
    ours = (
        torch.fft.fftshift(
            torch.fft.ifftn(torch.fft.ifftshift(found.kspace, dim=(-2, -1)), dim=(-2, -1), norm="ortho"), dim=(-2, -1)
        )
        * found.coil_maps.conj()
    ).sum(dim=1)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


def test_test_half_is_read_where_there_is_one(tmp_path: Path):
    write_modl(tmp_path / "a.h5", "trn", slices=2)
    assert read(write_modl(tmp_path / "a.h5", "tst", slices=3)).kspace.shape[0] == 3


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("Mask", np.ones((2, 8, 9)), r"trnMask has shape \(2, 8, 9\) unlike trnOrg"),
        ("Mask", np.zeros((2, 8, 10)), r"mask is empty: .*\(trnMask in a.h5\)"),
        ("Csm", np.zeros((2, 3, 8, 10), np.complex64), "maps are zero everywhere in slice 0"),
        ("Csm", np.ones((2, 3, 8, 9), np.complex64), "maps are 8 x 9 but k-space is 8 x 10"),
        ("Csm", np.ones((2, 8, 10), np.complex64), "trnOrg has 3 axes and trnCsm 3"),
        ("Csm", np.full((2, 3, 8, 10), np.nan, np.complex64), "maps holds 480 NaN"),
    ],
)
def test_unusable_part_is_refused(tmp_path: Path, part: str, values: np.ndarray, message: str):
    path = write_modl(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["trn" + part]
        file["trn" + part] = values
    with pytest.raises(_errors.ResolventError, match=message):
        read(path)


def test_missing_maps_are_named(tmp_path: Path):
    path = write_modl(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["trnCsm"]
    with pytest.raises(_errors.CorruptFileError, match="has no dataset trnCsm"):
        read(path)
