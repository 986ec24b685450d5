"""The border check: each fault has its sentence, each valid scan passes."""

import pytest
import torch

from resolvent._errors import DataError, ShapeError
from resolvent.data.scan import Scan
from resolvent.data.validation import infer_mask


def crandn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def lines(*kept: int) -> torch.Tensor:
    mask = torch.zeros(1, 12, 16)
    mask[..., list(kept)] = 1
    return mask


MASK = lines(0, 3, 7, 8, 9, 11, 15)


@pytest.fixture
def scan() -> Scan:
    return Scan(
        kspace=crandn(2, 12, 12, 16) * MASK[:, None],
        mask=MASK,
        coil_maps=crandn(2, 12, 12, 16, seed=1),
        reference=crandn(2, 12, 16, seed=2),
        source="/data/scan.h5",
    )


def test_valid_scan_is_returned(scan: Scan):
    assert scan.validated() is scan


@pytest.mark.parametrize("value", [float("nan"), float("inf"), complex(0, float("nan"))])
def test_kspace_that_is_not_finite_is_refused(scan: Scan, value: complex):
    kspace = scan.kspace.clone()
    kspace[1, 2, 3, 7] = value
    message = r"k-space holds 1 NaN or infinite values, the first at index \(1, 2, 3, 7\) \(kspace in scan.h5\). Export"
    with pytest.raises(DataError, match=message):
        scan.replace(kspace=kspace).validated()


def test_zero_kspace_is_refused(scan: Scan):
    with pytest.raises(DataError, match=r"k-space is zero everywhere \(kspace in scan.h5\). Check the export"):
        scan.replace(kspace=0 * scan.kspace).validated()


def test_empty_slice_is_named(scan: Scan):
    kspace = scan.kspace.clone()
    kspace[1] = 0
    with pytest.raises(
        DataError, match=r"k-space of slice 1 is zero everywhere \(axis 0 of kspace in scan.h5\). Leave"
    ):
        scan.replace(kspace=kspace).validated()


def test_real_kspace_is_refused(scan: Scan):
    with pytest.raises(DataError, match=r"k-space is torch.float32, but measured k-space is complex"):
        scan.replace(kspace=scan.kspace.real).validated()


def test_missing_axes_are_named(scan: Scan):
    with pytest.raises(ShapeError, match=r"k-space has shape \(12, 12, 16\) but needs \(batch, coil, \*lead, y, x\)"):
        scan.replace(kspace=scan.kspace[0]).validated()
    with pytest.raises(ShapeError, match=r"needs \(batch, coil, \*lead, z, y, x\)"):
        scan.replace(ndim=3).validated()


@pytest.mark.parametrize(
    ("maps", "error", "message"),
    [
        (
            crandn(2, 8, 12, 16),
            ShapeError,
            r"maps have 8 coils but k-space has 12 \(axis 1 of kspace in scan.h5\). Pass maps estimated from the same",
        ),
        (crandn(2, 1, 12, 16), ShapeError, r"maps have 1 coil but k-space has 12 .* One map cannot stand for 12 coils"),
        (
            crandn(2, 12, 12, 8),
            ShapeError,
            r"maps are 12 x 8 but k-space is 12 x 16 \(last 2 axes of kspace in scan.h5\)",
        ),
        (crandn(1, 12, 12, 16), ShapeError, r"maps have 1 slices but k-space has 2 \(axis 0 of kspace in scan.h5\)"),
        (crandn(2, 12, 3, 4, 12, 16), ShapeError, r"maps have lead axes \(3, 4\) but k-space has \(\)"),
        (torch.rand(2, 12, 12, 16), ShapeError, "maps are torch.float32"),
        (torch.zeros(2, 12, 12, 16, dtype=torch.complex64), DataError, "maps are zero everywhere in slice 0"),
        (torch.full((2, 12, 12, 16), torch.nan + 0j), DataError, "maps holds 4608 NaN or infinite values"),
    ],
)
def test_maps_that_do_not_fit_are_refused(scan: Scan, maps: torch.Tensor, error: type, message: str):
    with pytest.raises(error, match=message):
        scan.replace(coil_maps=maps).validated()


@pytest.mark.parametrize("shape", [(2, 12, 12, 16), (2, 12, 2, 12, 16)])
def test_one_or_two_map_sets_pass(scan: Scan, shape: tuple[int, ...]):
    scan.replace(coil_maps=crandn(*shape)).validated()


@pytest.mark.parametrize("lead", [(1,), (3,), (2, 1)])
def test_maps_of_frames_may_be_shared_or_not(lead: tuple[int, ...]):
    kspace = crandn(2, 4, 3, 12, 16)
    Scan(kspace=kspace, mask=torch.ones(1, 1, 12, 16), coil_maps=crandn(2, 4, *lead, 12, 16)).validated()


def test_empty_mask_is_refused(scan: Scan):
    with pytest.raises(DataError, match=r"mask is empty: no sample is marked as measured \(mask in scan.h5\)"):
        scan.replace(mask=0 * MASK).validated()


def test_mask_that_is_not_finite_is_refused(scan: Scan):
    with pytest.raises(DataError, match="mask holds NaN or infinite values"):
        scan.replace(mask=MASK / MASK.min()).validated()


@pytest.mark.parametrize("shape", [(12, 16), (1, 16, 12), (3, 12, 16), (1, 1, 12, 16)])
def test_mask_of_another_shape_is_refused(scan: Scan, shape: tuple[int, ...]):
    with pytest.raises(ShapeError, match=r"mask has shape .* but k-space is \(2, 12, 12, 16\) \(mask in scan.h5\)"):
        scan.replace(mask=torch.ones(shape)).validated()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            MASK.roll(1, -1),
            r"marks \d+ samples as unmeasured where k-space is not zero .* Shift the mask by -1 column,",
        ),
        (MASK.roll(-2, -1), r"Shift the mask by \+2 columns,"),
        (torch.fft.ifftshift(MASK, dim=(-2, -1)), r"Fft-shift the mask: its centre must lie at index N // 2"),
        (lines(1, 2, 3), r"unmeasured where k-space is not zero .* Leave the mask out to take it from the zeros"),
        (
            torch.ones(1, 12, 16),
            r"marks 216 samples as measured where k-space is zero in all coils .* Leave the mask out",
        ),
    ],
)
def test_mask_that_contradicts_the_zeros_is_refused(scan: Scan, mask: torch.Tensor, message: str):
    with pytest.raises(DataError, match=message):
        scan.replace(mask=mask).validated()


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_scale_that_is_none_is_refused(scan: Scan, scale: float):
    with pytest.raises(DataError, match=rf"scale is {scale}, but .* finite and positive \(scan.h5\)\. Pass 1"):
        scan.replace(scale=scale).validated()


@pytest.mark.parametrize("axis", [0, 1, -3])
def test_readout_that_is_no_spatial_axis_is_refused(scan: Scan, axis: int):
    with pytest.raises(DataError, match=rf"readout is axis {axis}, but the spatial axes are -2 to -1 \(scan.h5\)"):
        scan.replace(readout=axis).validated()
    assert scan.replace(readout=-2).validated().entry(1).readout == -2


def test_odd_uncentred_mask_is_recognised():
    mask = torch.zeros(1, 9, 15)
    mask[..., [2, 6, 7, 8, 13]] = 1
    scan = Scan(kspace=crandn(1, 2, 9, 15) * mask[:, None], mask=torch.fft.ifftshift(mask, dim=(-2, -1)))
    with pytest.raises(DataError, match="Fft-shift the mask"):
        scan.validated()


def test_reference_of_another_matrix_is_refused(scan: Scan):
    with pytest.raises(ShapeError, match=r"reference is 12 x 12 but k-space is 12 x 16"):
        scan.replace(reference=crandn(2, 12, 12)).validated()


def test_unnamed_scan_is_the_scan(scan: Scan):
    with pytest.raises(DataError, match=r"\(kspace in the scan\)"):
        scan.replace(kspace=0 * scan.kspace, source="").validated()


def test_mask_is_where_any_coil_is_not_zero():
    kspace = crandn(2, 3, 12, 16) * MASK[:, None]
    kspace[:, 0] = 0  # one dead coil
    assert torch.equal(infer_mask(kspace, 2), MASK)


def test_isolated_zeros_of_full_data_count_as_measured():
    kspace = crandn(1, 1, 32, 32)
    kspace[0, 0, 5, 7] = kspace[0, 0, 20, 1] = 0
    assert infer_mask(kspace, 2).all()


def test_isolated_zeros_do_not_fill_a_missing_line():
    kspace = crandn(1, 1, 256, 256)
    kspace[..., 40] = 0
    kspace[0, 0, 5, 7] = 0
    expected = torch.ones(1, 256, 256)
    expected[..., 40] = 0
    assert torch.equal(infer_mask(kspace, 2), expected)


def test_scattered_samples_stay_scattered():
    mask = (torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    assert torch.equal(infer_mask(crandn(1, 2, 32, 32) * mask[:, None], 2), mask)


def test_frames_with_their_own_lines_keep_their_own_masks():
    mask = torch.stack([lines(0, 4, 8), lines(1, 5, 8)], dim=1)
    assert torch.equal(infer_mask(crandn(2, 3, 2, 12, 16) * mask[:, None], 2), mask)
