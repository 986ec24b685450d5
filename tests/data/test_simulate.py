"""Simulated scans: every part is what its docstring says, and undersampling leaks nothing."""

import math

import numpy as np
import pytest
import torch

from resolvent._errors import DataError, ShapeError
from resolvent.data.places import Geometry
from resolvent.data.scan import Scan
from resolvent.data.simulate import add_noise, birdcage_maps, noise_at, simulate, smooth_phase, undersample
from resolvent.data.volume import Volume
from resolvent.linop.fourier import fft, ifft


@pytest.fixture
def image():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 40), indexing="ij")
    disc = ((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1).float()
    return disc * (1 + 0.5 * torch.cos(7 * x) * torch.cos(5 * y))


@pytest.mark.parametrize("shape", [(48, 41), (12, 20, 25)])
@pytest.mark.parametrize("n_coils", [1, 8, 12])
@pytest.mark.parametrize("seed", [None, 3])
def test_maps_have_unit_norm_at_every_pixel(shape, n_coils, seed):
    maps = birdcage_maps(n_coils, shape, seed=seed)
    assert maps.shape == (n_coils, *shape)
    assert maps.dtype == torch.complex64
    torch.testing.assert_close((maps.abs() ** 2).sum(0), torch.ones(shape))


@pytest.mark.parametrize("shape", [(64, 64), (32, 32, 32)])
def test_maps_are_smooth_and_differ_between_coils(shape):
    maps = birdcage_maps(8, shape, seed=1)
    for axis in range(1, len(shape) + 1):
        assert maps.diff(dim=axis).abs().max() < 10 / min(shape)
    flat = maps.flatten(1)
    gram = (flat @ flat.mH).abs() / flat.abs().square().sum(1).sqrt().outer(flat.abs().square().sum(1).sqrt())
    assert (gram - torch.eye(8)).max() < 0.95


def test_the_seed_moves_the_coils():
    assert torch.equal(birdcage_maps(4, (16, 16), seed=1), birdcage_maps(4, (16, 16), seed=1))
    assert (birdcage_maps(4, (16, 16), seed=1) - birdcage_maps(4, (16, 16), seed=2)).abs().max() > 0.1


@pytest.mark.parametrize("shape", [(64, 48), (16, 24, 20)])
def test_phase_is_smooth_and_random(shape):
    phase = smooth_phase(shape, seed=1)
    assert phase.shape == shape
    assert phase.std() > 0.1
    for axis in range(len(shape)):
        assert phase.diff(dim=axis).abs().max() < 20 / shape[axis]
    assert (phase - smooth_phase(shape, seed=2)).abs().max() > 0.1
    assert torch.equal(phase, smooth_phase(shape, seed=1))


def test_signal_to_noise_counts_the_object_alone_in_any_units():
    magnitude = torch.cat([torch.full((300,), 0.049), torch.full((50,), 0.6), torch.full((50,), 1.0)])
    for scale in (1e-6, 1.0, 1e6):
        sigma = noise_at(30.0, scale * magnitude) / scale
        assert 10 * np.log10((0.6**2 + 1) / 2 / sigma**2) == pytest.approx(30.0, abs=1e-5)


def test_noise_is_white_complex_and_of_the_given_power():
    noise = add_noise(torch.zeros(200, 500, dtype=torch.complex64), 0.3, seed=1)
    assert noise.abs().square().mean().sqrt().item() == pytest.approx(0.3, rel=0.01)
    assert noise.real.std().item() == pytest.approx(0.3 / 2**0.5, rel=0.01)
    assert abs((noise[:, 1:] * noise[:, :-1].conj()).mean()) < 0.01 * 0.09 * 3
    assert not torch.equal(noise, add_noise(torch.zeros_like(noise), 0.3, seed=2))


def test_scan_without_noise_is_the_forward_model_of_the_reference(image):
    scan = simulate(image, n_coils=5, acceleration=3, snr_db=None, seed=2)
    expected = fft(scan.maps * scan.reference[:, None]) * scan.mask[:, None]
    torch.testing.assert_close(scan.kspace, expected)
    assert scan.noise == 0.0
    assert scan.mask.numel() / scan.mask.sum().item() == pytest.approx(3, rel=0.05)
    torch.testing.assert_close(scan.reference.abs()[0], image)
    assert scan.reference.angle().std() > 0.1


@pytest.mark.parametrize("snr_db", [15.0, 30.0])
def test_snr_is_that_of_the_combined_image(image, snr_db):
    scan = simulate(image, acceleration=1, snr_db=snr_db)
    combined = (scan.maps.conj() * ifft(scan.kspace)).sum(1)
    error = (combined - scan.reference).abs().square().mean()
    inside = image > 0.05 * image.max()
    power = image[inside].square().mean()
    assert 10 * torch.log10(power / error).item() == pytest.approx(snr_db, abs=0.3)
    assert scan.noise == pytest.approx(error.sqrt().item(), rel=0.05)


def test_unmeasured_samples_are_zero(image):
    scan = simulate(image, acceleration=4)
    assert (scan.kspace * (1 - scan.mask)[:, None] == 0).all()


def test_phase_can_be_left_alone_and_maps_be_given(image):
    maps = birdcage_maps(3, tuple(image.shape))[None]
    scan = simulate(image, maps=maps, phase=False)
    torch.testing.assert_close(scan.reference[0], image + 0j)
    assert torch.equal(scan.maps, maps)
    assert scan.n_coils == 3


def test_volumes_times_and_stacks_keep_their_axes():
    x = torch.rand(2, 3, 16, 20) + 0.1
    scan = simulate(x, n_coils=4, mask_kind="uniform1d")  # two subjects, three frames
    assert scan.kspace.shape == (2, 4, 3, 16, 20)
    assert scan.maps.shape == (2, 4, 1, 16, 20)
    assert scan.mask.shape == (1, 3, 16, 20)
    assert not torch.equal(scan.mask[:, 0], scan.mask[:, 1])
    scan = simulate(x, n_coils=4, ndim=3)
    assert scan.kspace.shape == (2, 4, 3, 16, 20)
    assert scan.maps.shape == (2, 4, 3, 16, 20)
    assert scan.ndim == 3
    geometry = Geometry(np.eye(4))
    scan = simulate(Volume(x[:, 0] + 0j, geometry=geometry, source="v.nii"), n_coils=4)
    assert scan.geometry is geometry
    assert scan.source == "v.nii"


def test_the_seed_fixes_the_scan(image):
    assert torch.equal(simulate(image, seed=4).kspace, simulate(image, seed=4).kspace)
    assert not torch.equal(simulate(image, seed=4).kspace, simulate(image, seed=5).kspace)


def test_useless_images_are_refused(image):
    with pytest.raises(DataError, match="zero everywhere or not finite"):
        simulate(0 * image)
    with pytest.raises(DataError, match="zero everywhere or not finite"):
        simulate(image * torch.nan)
    with pytest.raises(ShapeError, match="image of 2 axes has no 3 spatial axes"):
        simulate(image, ndim=3)
    with pytest.raises(ShapeError, match=r"Maps \(1, 2, 8, 8\) do not fit an image \(1, 48, 40\)"):
        simulate(image, maps=birdcage_maps(2, (8, 8))[None])
    with pytest.raises(DataError, match="cannot have 0 coils"):
        simulate(image, n_coils=0)


def test_undersampling_keeps_the_measured_samples_and_combines_the_reference(image):
    full = simulate(image, acceleration=1, snr_db=30)
    scan = undersample(full, 4, "gaussian2d", seed=1)
    assert torch.equal(scan.kspace, full.kspace * scan.mask[:, None])
    assert scan.mask.numel() / scan.mask.sum().item() == pytest.approx(4, rel=0.05)
    torch.testing.assert_close(scan.reference, (full.maps.conj() * ifft(full.kspace)).sum(1))
    assert torch.equal(scan.maps, full.maps)
    assert scan.noise == full.noise


def test_kspace_that_was_filled_up_with_zeros_is_undersampled_where_it_was_measured(image):
    full = simulate(image, n_coils=3, acceleration=1)
    inside = torch.zeros_like(full.mask)
    inside[..., 5:-6] = 1
    padded = full.replace(kspace=full.kspace * inside.unsqueeze(1), mask=inside)
    assert padded.complete and padded.acceleration > 1
    under = undersample(padded, 3, "gaussian2d", seed=2)
    assert torch.equal(under.mask, inside * undersample(full, 3, "gaussian2d", seed=2).mask)
    expected = (under.maps.conj() * ifft(padded.kspace)).sum(1)
    torch.testing.assert_close(under.reference, expected)
    aside = inside.roll(full.matrix[-1] // 2, -1)
    assert not full.replace(kspace=full.kspace * aside.unsqueeze(1), mask=aside).complete, "without the centre"


def test_undersampling_refuses_an_undersampled_scan(image):
    with pytest.raises(DataError, match=r"Only 25 % of the samples of the scan were measured"):
        undersample(simulate(image, acceleration=4), 8)


@pytest.mark.parametrize(
    ("kind", "works", "fails"), [("gaussian1d", 4, 6), ("uniform1d", 4, 8), ("gaussian2d", 36, 60)]
)
def test_a_mask_without_a_centre_for_the_maps_is_named_with_the_acceleration_that_has_one(kind, works, fails):
    full = simulate(torch.ones(96, 96), n_coils=4, acceleration=1).replace(coil_maps=None)
    assert undersample(full, works, kind).maps.shape == (1, 4, 96, 96)
    with pytest.raises(
        DataError, match=rf"a {kind} mask of 96 x 96 .* Choose an acceleration up to {works}, or pass coil"
    ):
        undersample(full, fails, kind)


@pytest.mark.parametrize("kind", ["uniform1d", "random1d", "gaussian1d"])
@pytest.mark.parametrize("frames", [(), (3,)])
@pytest.mark.parametrize(("readout", "whole"), [(-1, -1), (-2, -2), (None, -2)])
def test_readouts_are_kept_or_left_out_whole(kind, frames, readout, whole):
    full = simulate(torch.ones(1, *frames, 40, 64), n_coils=4, acceleration=1).replace(readout=readout)
    mask = undersample(full, 4, kind, seed=1).mask
    assert torch.equal(mask, mask.narrow(whole, 0, 1).expand_as(mask))
    assert mask.mean().item() == pytest.approx(1 / 4, rel=0.05)


@pytest.mark.parametrize("readout", [-1, -2, None])
def test_points_of_a_plane_do_not_follow_its_readout(image, readout):
    full = simulate(image, acceleration=1)
    assert torch.equal(undersample(full.replace(readout=readout), 4).mask, undersample(full, 4).mask)


@pytest.mark.parametrize("kind", ["gaussian1d", "poisson2d"])
@pytest.mark.parametrize(("readout", "whole"), [(None, -1), (-1, -1), (-2, -2), (-3, -3)])
def test_readouts_of_a_volume_are_whole_too(kind, readout, whole):
    full = simulate(torch.ones(1, 24, 20, 28), n_coils=4, acceleration=1, ndim=3).replace(readout=readout)
    mask = undersample(full, 4, kind).mask
    assert torch.equal(mask, mask.narrow(whole, 0, 1).expand_as(mask))
    assert mask.shape == (1, 24, 20, 28) and 0 < mask.mean() < 0.3


def test_the_acceleration_that_is_named_is_that_of_the_lines():
    full = simulate(torch.ones(48, 96), n_coils=4, acceleration=1).replace(coil_maps=None, readout=-1)
    assert undersample(full, 2, "gaussian1d").maps.shape == (1, 4, 48, 96)
    with pytest.raises(DataError, match="Choose an acceleration up to 2,"):
        undersample(full, 4, "gaussian1d")


def test_separate_calibration_lines_are_kept():
    full = simulate(torch.ones(48, 48), n_coils=4, acceleration=1, snr_db=30).replace(coil_maps=None)
    scan = undersample(full.replace(calibration=full), 8, "uniform1d")
    assert scan.calibration is full
    assert torch.equal(scan.maps, full.maps)


def test_undersampling_in_time_draws_each_frame():
    full = simulate(torch.rand(1, 3, 24, 24) + 0.1, n_coils=4, acceleration=1)
    scan = undersample(full, 4, "gaussian1d")
    assert scan.mask.shape == (1, 3, 24, 24)
    assert scan.reference.shape == (1, 3, 24, 24)
    assert not torch.equal(scan.mask[:, 0], scan.mask[:, 1])


def test_scan_type_is_kept(image):
    assert isinstance(undersample(simulate(image, acceleration=1), 2), Scan)


@pytest.mark.parametrize("snr_db", [math.nan, -math.inf, 1e5, -1e5])
def test_decibels_that_are_none_are_refused(snr_db):
    with pytest.raises(DataError, match="is no signal-to-noise"):
        simulate(torch.ones(8, 8), acceleration=1, snr_db=snr_db)


def test_infinitely_many_decibels_are_no_noise():
    assert simulate(torch.ones(8, 8), acceleration=1, snr_db=math.inf).noise == 0
