"""fastMRI files: axes, masks, oversampling, reference."""

from pathlib import Path

import numpy as np
import pytest
import torch
from io_files import crandn, header, write_fastmri

from resolvent import _errors
from resolvent.data.io import read
from resolvent.data.scan import Scan
from resolvent.linop.fourier import fft, ifft


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file1000001.h5"


def columns(*kept: int, of: int = 10) -> np.ndarray:
    mask = np.zeros(of, bool)
    mask[list(kept)] = True
    return mask


def read_scan(path: str) -> Scan:
    found = read(path)
    assert isinstance(found, Scan)
    return found


def test_slices_are_batch_and_the_rest_is_untouched(path: Path):
    kspace = crandn(2, 3, 8, 10)
    found = read_scan(write_fastmri(path, kspace.numpy()))
    assert torch.equal(found.kspace, kspace)
    assert found.acceleration == 1
    assert found.mask.shape == (1, 8, 10)
    assert found.noise is None and found.geometry is None and found.reference is None
    assert found.source == str(path)


def test_single_coil_files_get_a_coil_axis(path: Path):
    kspace = crandn(2, 8, 10)
    target = ifft(kspace).abs().numpy()
    found = read_scan(write_fastmri(path, kspace.numpy(), reconstruction_esc=target))
    assert torch.equal(found.kspace, kspace[:, None])
    np.testing.assert_array_equal(found.reference.numpy().real, target)


def test_three_axes_that_may_be_coils_or_slices_are_refused(path: Path):
    kspace = crandn(4, 8, 10)
    with pytest.raises(_errors.ShapeError, match=r"slices of one coil, or coils of one slice.*Store all four"):
        read(write_fastmri(path, kspace.numpy()))
    assert read_scan(write_fastmri(path, kspace[:1].numpy())).kspace.shape == (1, 1, 8, 10)
    found = read_scan(write_fastmri(path, kspace.numpy(), ismrmrd_header=header(columns=8, rows=10)))
    assert torch.equal(found.kspace, kspace[:, None])


def test_mask_of_columns_holds_for_all_rows(path: Path):
    mask = columns(0, 3, 4, 5, 6, 9)
    found = read_scan(write_fastmri(path, crandn(2, 3, 8, 10).numpy() * mask, mask=mask))
    assert torch.equal(found.mask, torch.from_numpy(mask).float().expand(1, 8, 10))


def test_mask_of_samples_is_taken_as_it_is(path: Path):
    mask = np.random.default_rng(0).random((8, 10)) < 0.5
    found = read_scan(write_fastmri(path, crandn(2, 3, 8, 10).numpy() * mask, mask=mask))
    assert torch.equal(found.mask[0], torch.from_numpy(mask).float())


def test_zero_filled_outer_columns_count_as_unmeasured(path: Path):
    filled = columns(*range(2, 9))
    mask = columns(0, 1, 3, 4, 5, 6, 8, 9)  # the file marks the padding as measured
    found = read_scan(write_fastmri(path, crandn(1, 3, 8, 10).numpy() * (mask & filled), mask=mask))
    assert torch.equal(found.mask[0, 0], torch.from_numpy(mask & filled).float())


def test_mask_selects_from_fully_sampled_kspace(path: Path):
    mask = columns(0, 3, 4, 5, 6, 9)
    image = torch.zeros(1, 3, 8, 10, dtype=torch.complex64)
    image[..., 2:6, 3:8] = 1 + 0.1 * crandn(1, 3, 4, 5)
    kspace = fft(image)
    found = read_scan(write_fastmri(path, kspace.numpy(), mask=mask))
    assert torch.equal(found.kspace, kspace * torch.from_numpy(mask))


def test_mask_selects_from_kspace_that_was_filled_up_with_zeros(path: Path):
    mask, filled = columns(0, 3, 4, 5, 6, 9), columns(*range(1, 9))
    image = torch.zeros(1, 3, 8, 10, dtype=torch.complex64)
    image[..., 2:6, 3:8] = 1 + 0.1 * crandn(1, 3, 4, 5)
    kspace = fft(image) * torch.from_numpy(filled)
    found = read_scan(write_fastmri(path, kspace.numpy(), mask=mask))
    assert torch.equal(found.kspace, kspace * torch.from_numpy(mask))
    assert torch.equal(found.mask[0, 0], torch.from_numpy(mask & filled).float())


def test_pixels_are_as_many_columns_as_there_are(path: Path):
    """Of 10 columns that the header counts 8 are in the file; they are as far apart, so pixels are larger."""
    file = write_fastmri(path, crandn(1, 2, 8, 8).numpy(), ismrmrd_header=header(columns=4, rows=10))
    np.testing.assert_allclose(np.linalg.norm(read_scan(file).geometry.affine[:3, 0]), 10 * 3 / 8)


def test_uncentred_mask_of_fully_sampled_kspace_is_refused(path: Path):
    image = torch.zeros(1, 3, 8, 10, dtype=torch.complex64)
    image[..., 2:6, 3:8] = 1 + 0.1 * crandn(1, 3, 4, 5)
    file = write_fastmri(path, fft(image).numpy(), mask=np.fft.ifftshift(columns(3, 4, 5, 6)))
    with pytest.raises(_errors.DataError, match=r"mask misses the centre of k-space.*file1000001.h5.*index N // 2"):
        read(file)


def test_header_removes_readout_oversampling_and_gives_the_voxel_size(path: Path):
    image = crandn(2, 3, 8, 10)
    wide = torch.nn.functional.pad(image, (0, 0, 4, 4))  # the readout is along rows
    target = image.abs().square().sum(dim=1).sqrt()
    file = write_fastmri(
        path, fft(wide).numpy(), ismrmrd_header=header(columns=8, rows=10), reconstruction_rss=target.numpy()
    )
    found = read_scan(file)
    torch.testing.assert_close(ifft(found.kspace), image, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.reference.real, target)
    np.testing.assert_allclose(np.linalg.norm(found.geometry.affine[:3, :3], axis=0), [3, 2, 5])
    assert not found.geometry.oriented


def test_header_without_a_field_of_view_gives_no_voxel_size(path: Path):
    xml = header(columns=8, rows=10).replace("<z>5.0</z>", "<z>0</z>")
    assert read_scan(write_fastmri(path, crandn(1, 2, 16, 10).numpy(), ismrmrd_header=xml)).geometry is None


def test_oversampling_goes_together_with_a_column_mask(path: Path):
    mask = columns(0, 3, 4, 5, 6, 9)
    kspace = fft(crandn(1, 3, 16, 10)) * torch.from_numpy(mask)
    found = read_scan(write_fastmri(path, kspace.numpy(), mask=mask, ismrmrd_header=header(columns=8, rows=10)))
    assert found.kspace.shape == (1, 3, 8, 10)
    assert torch.equal(found.mask[0, 0], torch.from_numpy(mask).float())


def test_cropped_target_is_no_reference(path: Path):
    file = write_fastmri(path, crandn(2, 3, 8, 10).numpy(), reconstruction_rss=np.ones((2, 6, 6), np.float32))
    assert read_scan(file).reference is None


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(9), r"mask has shape \(9,\) but k-space has 10 phase-encoding columns"),
        (np.full(10, np.nan), "mask holds NaN or infinite values"),
        (np.array([b"a"] * 10), "mask holds .* not numbers"),
        (np.zeros(10), "mask is empty"),
    ],
)
def test_unusable_mask_is_refused(path: Path, mask: np.ndarray, message: str):
    with pytest.raises(_errors.ResolventError, match=message):
        read(write_fastmri(path, crandn(1, 3, 8, 10).numpy(), mask=mask))


def test_five_axes_are_refused(path: Path):
    with pytest.raises(
        _errors.ShapeError, match=r"k-space has 5 axes but fastMRI files have \[slice, coil, read, phase\]"
    ):
        read(write_fastmri(path, crandn(1, 1, 3, 8, 10).numpy()))


@pytest.mark.parametrize("shape", [(8, 10), (1, 8, 10), (1, 3, 8, 10), (1, 3, 8, 10, 2)])
def test_real_kspace_is_refused(path: Path, shape: tuple[int, ...]):
    with pytest.raises(
        _errors.DataError, match=r"k-space is float32, but measured k-space is complex \(kspace in file"
    ):
        read(write_fastmri(path, np.ones(shape, np.float32)))


def test_text_for_kspace_is_refused(path: Path):
    with pytest.raises(_errors.FormatError, match=r"dataset /kspace in .* holds .* not numbers"):
        read(write_fastmri(path, np.array([b"abc"])))


def test_real_brain_is_read(shared_data: Path):
    found = read_scan(str(shared_data / "brain_16coil_kspace.h5"))
    assert found.kspace.shape == (1, 16, 96, 96)
    assert found.acceleration == 1
    picture = ifft(found.kspace).abs().square().sum(dim=1).sqrt()[0]
    assert picture[32:64, 32:64].mean() > 5 * picture[:4, :4].mean()  # the head is in the middle, so the centre is too
