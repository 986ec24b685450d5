"""Calgary-Campinas: pairs, the hybrid space, and the origin of the image."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from io_files import crandn, write_calgary

from resolvent import _errors
from resolvent.data.io import read
from resolvent.data.scan import Scan
from resolvent.linop.fourier import ifft


@pytest.mark.parametrize("shape", [(8, 10), (7, 9)])
def test_coil_images_come_back(tmp_path: Path, shape: tuple[int, int]):
    images = crandn(2, 3, *shape)
    found = read(write_calgary(tmp_path / "a.h5", images.numpy()))
    assert isinstance(found, Scan)
    assert found.kspace.shape == (2, 3, *shape)
    # orthonormal against numpy's unscaled transform: a factor of the root of the number of pixels
    torch.testing.assert_close(ifft(found.kspace), images * (shape[0] * shape[1]) ** 0.5, rtol=1e-4, atol=1e-4)


def test_unmeasured_columns_are_zero_in_the_mask(tmp_path: Path):
    path = write_calgary(tmp_path / "a.h5", crandn(2, 3, 8, 10).numpy())
    with h5py.File(path, "r+") as file:
        file["kspace"][:, :, 8:] = 0
    found = read(path)
    assert isinstance(found, Scan)
    assert torch.equal(found.mask[0, 0], (torch.arange(10) < 8).float())


def test_odd_last_axis_is_refused(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = np.ones((1, 4, 4, 3), "f4")
    with pytest.raises(_errors.ShapeError, match="3 values per sample, which are not pairs"):
        read(tmp_path / "a.h5")
