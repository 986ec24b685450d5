"""The noise level is found where it is known, and bounded where it is not."""

import h5py
import pytest
import torch

import resolvent as rv
from resolvent.data import psnr
from resolvent.data.masks import make_mask
from resolvent.data.simulate import add_noise, simulate
from resolvent.linop import estimate_noise, ifft


def phantom(*shape):
    """An ellipsoid with structure, zero outside."""
    grid = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    inside = sum((a / (0.8 - 0.06 * i)) ** 2 for i, a in enumerate(grid)) < 1
    return inside * (1 + 0.4 * torch.cos(9 * grid[-1]) * torch.sin(6 * grid[-2] + 1) + 0.3 * (grid[-1] > 0.2))


@pytest.mark.parametrize("snr_db", [15, 20, 25, 30, 35, 40])
@pytest.mark.parametrize("kind", ["gaussian2d", "uniform1d", "poisson2d"])
def test_noise_is_estimated_within_fifteen_percent(snr_db, kind):
    noisy = simulate(phantom(160, 144), n_coils=8, acceleration=4, mask_kind=kind, snr_db=snr_db, seed=3)
    assert estimate_noise(noisy.kspace).item() == pytest.approx(noisy.noise, rel=0.15)


@pytest.mark.parametrize("n_coils", [4, 8])
@pytest.mark.parametrize("kind", ["gaussian2d", "uniform1d"])
def test_hardly_any_noise_is_not_taken_for_more(n_coils, kind):
    """Where signal fills every direction of single samples, patches still have directions without."""
    image = torch.nn.functional.avg_pool2d(phantom(192, 192)[None, None], 2)[0, 0]
    quiet = simulate(image, n_coils=n_coils, acceleration=4, mask_kind=kind, snr_db=50, seed=3)
    assert quiet.noise < estimate_noise(quiet.kspace).item() < 1.3 * quiet.noise


def test_noise_is_found_behind_the_signal_of_real_corners(shared_data):
    """No noise scan exists; the darkest tenth of the coil images bounds it from above."""
    with h5py.File(shared_data / "brain_16coil_kspace.h5") as file:
        kspace = torch.from_numpy(file["kspace"][()])
    images = ifft(kspace)[0]
    power = images.abs().square().sum(0)
    background = images[:, power < power.quantile(0.1)].abs().square().mean().sqrt().item()
    estimate = estimate_noise(kspace).item()
    assert 0.5 * background < estimate < 1.2 * background
    corner = kspace[0, :, :12, :12].abs().square().mean().sqrt().item()
    assert corner > 5 * estimate  # the power in the corners is signal
    for acceleration in (4, 6):
        kept = make_mask("gaussian2d", kspace.shape[-2:], acceleration, seed=0).unsqueeze(1) * kspace
        assert estimate < estimate_noise(kept).item() < 3 * estimate


def test_noise_of_volumes_frames_and_filled_up_matrices():
    white = add_noise(torch.zeros(2, 4, 3, 48, 40, dtype=torch.complex64), 0.2, seed=1)
    assert estimate_noise(white).tolist() == pytest.approx([0.2, 0.2], rel=0.08)
    assert estimate_noise(white, ndim=3).tolist() == pytest.approx([0.2, 0.2], rel=0.08)
    white[..., :8, :] = 0
    assert estimate_noise(white).tolist() == pytest.approx([0.2, 0.2], rel=0.08)
    assert estimate_noise(white[:, :1]).tolist() == pytest.approx([0.2, 0.2], rel=0.08)


def test_of_one_coil_the_outermost_fortieth_of_the_samples_counts():
    """Signal that ends within the outermost thirtieth: two coils have a direction without it, one has only that rim."""
    white = add_noise(torch.zeros(1, 2, 64, 64, dtype=torch.complex64), 0.2, seed=1)
    axis = (torch.arange(64) - 31.5) ** 2
    radius = (axis + axis[:, None]).flatten()
    signal = torch.zeros(64 * 64).index_fill(0, radius.argsort()[: 64 * 64 * 29 // 30], 5.0).reshape(64, 64)
    assert estimate_noise(white + signal).item() == pytest.approx(0.2, rel=0.08)
    assert estimate_noise(white[:, :1] + signal).item() == pytest.approx(0.2, rel=0.15)  # of 102 samples


def test_each_scan_of_a_batch_has_the_level_it_has_alone_in_its_own_units():
    white = add_noise(torch.zeros(2, 4, 48, 40, dtype=torch.complex64), 1.0, seed=2)
    white = white * torch.tensor([1e-20, 3.0]).reshape(2, 1, 1, 1)
    levels = estimate_noise(white)
    torch.testing.assert_close(levels[1:], estimate_noise(white[1:]))
    assert (levels / torch.tensor([1e-20, 3.0])).tolist() == pytest.approx([1, 1], rel=0.08)


def test_with_no_more_samples_than_coils_the_estimate_is_the_power_of_the_samples():
    kspace = torch.zeros(1, 8, 6, 6, dtype=torch.complex64)
    kspace[..., 0, :3] = 2.0
    assert estimate_noise(kspace).item() == pytest.approx(2.0)
    assert estimate_noise(torch.zeros_like(kspace)).item() == 0


def test_an_axis_may_be_shorter_than_a_patch():
    y = 0.5 * torch.randn(1, 3, 2, 40, 40, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(estimate_noise(y, 3), torch.tensor([0.5]), rtol=0.1, atol=0)


UNEQUAL = {
    "a coil of zeros": lambda y: torch.cat([y, 0 * y[:, :1]], 1),
    "half the coils zeros": lambda y: torch.cat([y, 0 * y], 1),
    "a coil twice": lambda y: torch.cat([y, y[:, :1]], 1),
    "a coil and its weak copy": lambda y: torch.cat([y, 1e-3 * y[:, :1]], 1),
    "a sum of coils": lambda y: torch.cat([y, y[:, :1] + 0.7j * y[:, 1:2]], 1),
    "coils mixed by a unitary matrix": lambda y: torch.einsum("ij,bj...->bi...", unitary(y.shape[1]).to(y.dtype), y),
}


def unitary(n):
    return torch.linalg.qr(torch.randn(n, n, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)))[0]


@pytest.mark.parametrize("change", UNEQUAL)
@pytest.mark.parametrize("snr_db", [15, 35])
def test_coils_that_add_nothing_do_not_lower_the_noise(change, snr_db):
    scan = simulate(phantom(160, 144), n_coils=8, acceleration=4, mask_kind="uniform1d", snr_db=snr_db, seed=3)
    for precise in (scan.kspace, scan.kspace.to(torch.complex128)):
        assert estimate_noise(UNEQUAL[change](precise)).item() == pytest.approx(scan.noise, rel=0.15)


@pytest.mark.parametrize("coils", [[0], [0, 3, 5], [0, 1, 2, 3]], ids=len)
@pytest.mark.parametrize("snr_db", [15, 35])
def test_no_gain_of_a_few_coils_lowers_the_noise_by_more_than_a_half(snr_db, coils):
    scan = simulate(phantom(160, 144), n_coils=8, acceleration=4, mask_kind="uniform1d", snr_db=snr_db, seed=3)
    found = {}
    for gain in (1, 0.7, 0.51, 0.49, 0.3, 0.1, 0.05, 0):
        weights = torch.ones(8).index_fill(0, torch.tensor(coils), gain).reshape(-1, 1, 1)
        found[gain] = estimate_noise(weights * scan.kspace).item() / scan.noise
    assert min(found.values()) > 0.45
    assert found[0.51] == pytest.approx(found[0.49], rel=0.05)
    assert [found[gain] > 1 - 1.3 * gain - 0.1 for gain in (0.3, 0.1, 0.05, 0)] == [True] * 4


@pytest.mark.parametrize("factor", [0.0, 1e-3, 0.1])
def test_a_dead_or_weak_coil_costs_no_more_than_its_signal(factor):
    scan = simulate(phantom(96, 96), n_coils=12, acceleration=3, snr_db=15, seed=1)
    gain = torch.ones(1, 12, 1, 1).index_fill_(1, torch.tensor([3]), factor)
    rest = [c for c in range(12) if c != 3]
    model, images = rv.load("brain-2d"), []
    for y, maps in ((scan.kspace[:, rest], scan.maps[:, rest]), (gain * scan.kspace, gain * scan.maps)):
        images.append(model.solve(y, rv.SENSE(maps, scan.mask)).image)
    assert psnr(scan.reference, images[1]) == pytest.approx(psnr(scan.reference, images[0]), abs=0.3)


def test_the_level_does_not_depend_on_the_precision():
    y = torch.randn(1, 4, 24, 24, dtype=torch.complex64, generator=torch.Generator().manual_seed(5))
    assert estimate_noise(y.to(torch.complex128)).item() == pytest.approx(estimate_noise(y).item(), rel=1e-5)


@pytest.mark.parametrize("size", [2.0**-125, 2.0**-130, 2.0**-149])
def test_numbers_too_small_to_be_held_in_full_have_no_noise(size):
    y = torch.randn(1, 4, 24, 24, dtype=torch.complex64, generator=torch.Generator().manual_seed(5))
    y = y / y.abs().amax()
    found = estimate_noise((size * y).to(torch.complex64)).item()
    assert found == (pytest.approx(size * estimate_noise(y).item(), rel=1e-4) if size > 1e-38 else 0)
