"""One committed file of each format, made without the package (`make_golden.py`): read, written and read again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from resolvent.data.io import read, write
from resolvent.data.scan import Scan
from resolvent.data.volume import Volume
from resolvent.linop.fourier import fft

GOLDEN = Path(__file__).with_name("golden")
READOUT = {"ismrmrd.h5": -1, "mrd.bin": -1, "bart.cfl": -1, "fastmri.h5": -2, "cmrxrecon.mat": -2}
"""The axis that is frequency encoded, of formats that say so."""
coil, row, column = np.ogrid[:2, :4, :6]
KSPACE = torch.from_numpy((1 + 100 * coil + (10 * row + column) ** 2 % 23 + 1j * (row - column)).astype(np.complex64))
IMAGE = KSPACE[0].real


def known(name: str, dataset: str | None) -> torch.Tensor:
    """K-space (coil, y, x) that the file means."""
    if name == "calgary.h5":  # stored is the unscaled transform of the numbers, as if they were an image
        return fft(KSPACE) * 24**0.5
    if name == "modl.h5":  # an image, of which k-space is simulated
        return fft(IMAGE.to(torch.complex64))[None]
    return KSPACE * (2 if dataset == "kspace_b" else 1)


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("ismrmrd.h5", None),
        ("mrd.bin", None),
        ("fastmri.h5", None),
        ("calgary.h5", None),
        ("cmrxrecon.mat", None),
        ("several.mat", "kspace_a"),
        ("several.mat", "kspace_b"),
        ("modl.h5", None),
        ("bart.cfl", None),
    ],
)
def test_scan_is_read_and_survives_a_round_trip(tmp_path: Path, name: str, dataset: str | None):
    if name == "mrd.bin":
        pytest.importorskip("mrd", reason="mrd-python is not installed (extra mrd)")
    found = read(GOLDEN / name, dataset)
    assert isinstance(found, Scan)
    wanted = known(name, dataset)
    got = found.kspace.reshape(wanted.shape)
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6 * float(wanted.abs().max()))
    write(found, tmp_path / "again.h5")
    again = read(tmp_path / "again.h5")
    assert isinstance(again, Scan)
    assert torch.equal(again.kspace, found.kspace) and torch.equal(again.mask, found.mask)
    assert again.readout == found.readout == READOUT.get(name)


@pytest.mark.parametrize("name", ["image.nii", "image.npy", "ismrmrd_image.h5"])
def test_image_is_read_and_survives_a_round_trip(tmp_path: Path, name: str):
    found = read(GOLDEN / name)
    assert isinstance(found, Volume)
    values = found.image.squeeze()
    assert torch.equal(values.real if values.is_complex() else values, IMAGE)
    write(found, tmp_path / "again.nii")
    again = read(tmp_path / "again.nii")
    assert isinstance(again, Volume)
    assert torch.equal(again.image.squeeze(), IMAGE)


def test_known_voxel_of_the_nifti_file_lies_at_its_world_point():
    found = read(GOLDEN / "image.nii")
    assert isinstance(found, Volume) and found.geometry is not None
    # column 5, row 2: 40 - 3 * 2, 2 * 5 - 30, 7 mm
    np.testing.assert_allclose(found.geometry.affine @ [5, 2, 0, 1], [34, -20, 7, 1])
