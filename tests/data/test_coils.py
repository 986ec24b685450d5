"""Coils: maps explain the data that they were not estimated from, noise is what it is, compression loses little."""

import shutil
import subprocess

import h5py
import numpy as np
import pytest
import torch

from resolvent._errors import DataError, ShapeError
from resolvent.data.coils import compress_coils, noise_covariance, whiten
from resolvent.data.espirit import calibration_block, espirit, espirit_maps
from resolvent.data.masks import make_mask
from resolvent.data.scan import Scan
from resolvent.data.simulate import add_noise, birdcage_maps, simulate, undersample
from resolvent.linop.fourier import fft, ifft


def phantom(*shape):
    """An ellipsoid with structure, zero outside."""
    grid = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    inside = sum((a / (0.8 - 0.06 * i)) ** 2 for i, a in enumerate(grid)) < 1
    return inside * (1 + 0.4 * torch.cos(9 * grid[-1]) * torch.sin(6 * grid[-2] + 1) + 0.3 * (grid[-1] > 0.2))


def misfit(maps, truth, where):
    """Root mean square sine of the angle between the coil vectors of two maps (coil, ...)."""
    overlap = (maps.conj() * truth).sum(0).abs()[where]
    return (1 - overlap.clamp(max=1) ** 2).mean().sqrt().item()


def unexplained(maps, images, where):
    """Relative part of coil images (coil, ...) that no combined image explains."""
    rest = images - maps * (maps.conj() * images).sum(0)
    return (rest[:, where].norm() / images[:, where].norm()).item()


def tikhonov(maps, mask, y, weight, steps=30):
    """Conjugate gradient for (A^H A + weight) x = A^H y; all arrays without batch axis."""

    def normal(x):
        return (maps.conj() * ifft(mask * fft(maps * x))).sum(0) + weight * x

    r = (maps.conj() * ifft(mask * y)).sum(0)
    x, p, power = torch.zeros_like(r), r, r.abs().square().sum()
    for _ in range(steps):
        q = normal(p)
        a = power / (p.conj() * q).sum().real
        x, r = x + a * p, r - a * q
        p, power = r + (r.abs().square().sum() / power) * p, r.abs().square().sum()
    return x


@pytest.fixture(scope="module")
def scan():
    return simulate(phantom(72, 64), n_coils=8, acceleration=3, snr_db=35, seed=1)


@pytest.fixture(scope="module")
def brain(shared_data):
    with h5py.File(shared_data / "brain_16coil_kspace.h5") as file:
        kspace = torch.from_numpy(np.asarray(file["kspace"]).astype(np.complex64))
    return Scan(kspace=kspace, mask=torch.ones(1, 96, 96))


def test_maps_are_the_true_ones_up_to_a_phase(scan):
    inside = scan.reference[0].abs() > 0
    assert misfit(espirit(scan)[0], scan.maps[0], inside) < 0.02


def test_maps_have_unit_norm_in_the_object_and_none_far_outside(scan):
    power = espirit(scan)[0].abs().square().sum(0)
    inside = scan.reference[0].abs() > 0
    torch.testing.assert_close(power[inside], torch.ones_like(power[inside]))
    assert power[:3, :3].max() == 0
    assert set(power.round().unique().tolist()) == {0.0, 1.0}


def test_maps_take_nothing_from_outside_the_calibration_block(scan):
    centre = calibration_block(scan.mask[0] > 0)
    only = torch.zeros_like(scan.kspace)
    only[(..., *centre)] = scan.kspace[(..., *centre)]
    assert torch.equal(espirit(scan), espirit(scan.replace(kspace=only)))


@pytest.mark.parametrize("factor", [1e-30, 1e12])
def test_maps_do_not_depend_on_the_scale(scan, factor):
    torch.testing.assert_close(espirit(scan.replace(kspace=scan.kspace * factor)), espirit(scan), atol=1e-4, rtol=0)


def test_the_phase_of_the_maps_is_smooth(scan):
    inside = scan.reference[0].abs() > 0
    maps = espirit(scan)[0]
    both = inside[:, 1:] & inside[:, :-1]
    assert maps.diff(dim=2)[:, both].abs().max() < 0.15


def test_eigenvectors_are_those_of_dense_algebra():
    """W at single pixels, built from the projector by brute force, against the maps."""
    image = phantom(32, 28)
    true = simulate(image, n_coils=3, acceleration=1, snr_db=30, seed=5)
    block = true.kspace[0][:, 6:26, 4:24].to(torch.complex64)  # DC at 16 - 6 = 10 and 14 - 4 = 10
    maps = espirit_maps(block, (32, 28), sets=3, crop=-1.0)
    k = 6
    patches = np.stack([block[:, i : i + k, j : j + k].numpy().ravel() for i in range(15) for j in range(15)])
    u, s, _ = np.linalg.svd(patches.T.astype(complex), full_matrices=False)
    u = u[:, s > 0.02 * s[0]]
    projector = (u @ u.conj().T).reshape(3, k, k, 3, k, k)
    t = np.arange(k)
    for y, x in ((16, 14), (5, 20), (0, 0)):
        wave = np.exp(2j * np.pi * ((y - 16) * t[:, None] / 32 + (x - 14) * t[None, :] / 28))
        w = np.einsum("iabjcd,ab,cd->ij", projector, wave, wave.conj()) / k**2
        values, vectors = np.linalg.eigh(w)
        assert -1e-9 < values.min() <= values.max() < 1 + 1e-9
        for which in range(3):
            overlap = abs(np.vdot(vectors[:, 2 - which], maps[:, which, y, x].numpy()))
            assert overlap == pytest.approx(1, abs=1e-4)


def test_two_sets_explain_an_image_that_folds_over_itself():
    """The object is larger than the field of view: two coil vectors a pixel where it overlaps."""
    image = phantom(64, 64)
    coils = birdcage_maps(8, (64, 64), seed=3) * image
    folded = coils[:, 12:52] + 0  # the rows outside fall back into the field of view
    folded[:, :12] += coils[:, 52:]
    folded[:, -12:] += coils[:, :12]
    kspace = add_noise(fft(folded)[None], 1e-3, seed=1)
    one_scan = Scan(kspace=kspace, mask=torch.ones(1, 40, 64))
    one, two = espirit(one_scan)[0], espirit(one_scan, sets=2)
    assert two.shape == (1, 8, 2, 40, 64)
    where = torch.zeros(40, 64, dtype=torch.bool)
    where[:6] = where[-6:] = True  # rows in which the object overlaps itself
    rest = folded - (two[0] * (two[0].conj() * folded[:, None]).sum(0)).sum(1)
    assert rest[:, where].norm() < 0.02 * folded[:, where].norm()
    assert unexplained(one, folded, where) > 0.05
    inner = (two[0][:, 0].conj() * two[0][:, 1]).sum(0)
    assert inner.abs().max() < 1e-3


def test_volume_maps_are_the_true_ones():
    true = simulate(phantom(28, 32, 30), n_coils=6, acceleration=2, snr_db=35, seed=2, ndim=3)
    maps = espirit(true)
    assert maps.shape == (1, 6, 28, 32, 30)
    assert misfit(maps[0], true.maps[0], true.reference[0].abs() > 0) < 0.05


@pytest.mark.parametrize(
    ("n_coils", "shape", "acceleration", "snr_db", "least"),
    [(8, (96, 96), 4, 10, 0.99), (2, (96, 96), 4, 12, 0.99), (8, (24, 64, 32), 2.5, 15, 0.98)],
)
def test_noisy_calibration_lines_still_tell_the_maps(n_coils, shape, acceleration, snr_db, least):
    """Where all singular values of small patches passed as signal, maps were random vectors: a mean of about 0.3."""
    image = phantom(*shape)
    scan = simulate(
        image, n_coils=n_coils, acceleration=acceleration, mask_kind="uniform1d", snr_db=snr_db, seed=3, ndim=len(shape)
    )
    overlap = (espirit(scan)[0].conj() * scan.maps[0]).sum(0).abs()
    assert float(overlap[image > 0].mean()) > least


@pytest.mark.parametrize("partitions", [2, 4, 6])
def test_a_volume_of_few_partitions_has_maps(partitions):
    image = phantom(8, 32, 28)[4 - partitions // 2 : 4 + partitions // 2]
    scan = simulate(image, n_coils=6, acceleration=1, snr_db=30, ndim=3)
    if partitions < 4:
        with pytest.raises(DataError, match=r"is only 2 x 32 x 28 samples, but ESPIRiT needs 8 on every axis \(all of"):
            espirit(scan)
        return
    overlap = (espirit(scan)[0].conj() * scan.maps[0]).sum(0).abs()
    assert float(overlap[image > 0].mean()) > 0.98


def test_frames_are_averaged_for_one_set_of_maps():
    still = phantom(48, 48)
    x = torch.stack([still, 1.1 * still, 0.9 * still])[None]
    true = simulate(x, n_coils=6, acceleration=4, mask_kind="gaussian2d", snr_db=35)
    maps = espirit(true)
    assert maps.shape == (1, 6, 1, 48, 48)
    assert misfit(maps[0, :, 0], true.maps[0, :, 0], still > 0) < 0.02
    assert espirit(true, sets=2).shape == (1, 6, 2, 1, 48, 48)


@pytest.mark.parametrize("lead", [(4,), (2, 2)])
@pytest.mark.parametrize("turns", [(1, -1, 1, -1), (1, 1j, -1, -1j), (1, 1, 1, -3)])
def test_frames_of_other_phases_do_not_cancel(lead, turns):
    still = phantom(48, 48).expand(1, 4, 48, 48)
    true = simulate(still, n_coils=6, acceleration=4, mask_kind="gaussian2d", snr_db=35)
    turned = true.kspace * torch.tensor(turns)[:, None, None]
    series = true.replace(kspace=turned.unflatten(2, lead), mask=true.mask.unflatten(1, lead), coil_maps=None)
    maps = espirit(series).reshape(6, 48, 48)
    assert misfit(maps, true.maps[0, :, 0], still[0, 0] > 0) < 0.02
    torch.testing.assert_close(espirit(series.replace(kspace=1e-30 * series.kspace))[0].reshape(maps.shape), maps)


def test_frames_that_have_next_to_nothing_in_common_are_added_as_they_are():
    true = simulate(phantom(48, 48), n_coils=6, acceleration=1, snr_db=None)
    mask = torch.zeros(1, 2, 48, 48)
    mask[:, 0, :, ::2], mask[:, 1, :, 1::2], mask[..., 14] = 1, 1, 1
    kspace = true.kspace[:, :, None] * mask[:, None]
    kspace[:, :, 1, :, 14] *= -1  # what noise may do to a weak sample
    maps = espirit(true.replace(kspace=kspace, mask=mask, coil_maps=None, reference=None))
    assert misfit(maps[0, :, 0], true.maps[0], true.reference[0].abs() > 0) < 0.02


def test_samples_measured_in_more_frames_weigh_no_more():
    still = simulate(phantom(48, 48), n_coils=6, acceleration=1, snr_db=None)
    mask = torch.ones(1, 2, 48, 48)
    mask[:, 1] = make_mask("gaussian2d", (48, 48), 6, center=8)
    twice = still.replace(kspace=still.kspace[:, :, None] * mask[:, None], mask=mask, coil_maps=None, reference=None)
    torch.testing.assert_close(espirit(twice)[:, :, 0], espirit(still), atol=1e-3, rtol=0)


def test_slices_have_maps_of_their_own():
    a, b = (simulate(phantom(48, 48), n_coils=6, acceleration=2, seed=s) for s in (1, 2))
    both = a.replace(kspace=torch.cat([a.kspace, b.kspace]), mask=torch.cat([a.mask, a.mask]))
    torch.testing.assert_close(espirit(both)[0], espirit(a)[0], atol=1e-4, rtol=0)


def test_one_coil_has_a_map_of_ones():
    assert (espirit(simulate(phantom(32, 32), n_coils=1, acceleration=2)) == 1).all()


def test_calibration_block_is_the_largest_measured_one_around_dc():
    def sizes(mask):
        return [b.stop - b.start for b in calibration_block(mask)]

    assert calibration_block(torch.ones(64, 65) > 0) == (slice(20, 44), slice(20, 44))
    lines = make_mask("uniform1d", (64, 96), 4, center=10)[0] > 0
    y, x = calibration_block(lines)
    assert lines[y, x].all()
    assert x.stop - x.start in (10, 11)
    assert 500 < sizes(lines)[0] * sizes(lines)[1] <= 576  # a long block makes up for the short axis
    square = torch.zeros(40, 40)
    square[14:26, 12:28] = 1
    assert sizes(square > 0) == [12, 16]


@pytest.mark.parametrize("centre", [8, 10, 12])
def test_maps_from_a_small_centre_still_cover_the_object(centre):
    small = simulate(phantom(72, 64), n_coils=8, acceleration=1, snr_db=35, seed=1)
    mask = torch.zeros(1, 72, 64)
    mask[:, 36 - centre // 2 : 36 + centre // 2, 32 - centre // 2 : 32 + centre // 2] = 1
    maps = espirit(small.replace(kspace=small.kspace * mask, mask=mask))[0]
    assert misfit(maps, small.maps[0], small.reference[0].abs() > 0) < 0.1


def test_a_centre_that_is_too_small_is_named(scan):
    few = make_mask("random1d", (72, 64), 4, center=4, seed=1)
    few[:, :, 20:45] = 0
    few[:, :, 30:34] = 1
    with pytest.raises(DataError, match=r"centre of k-space in a.h5 is only 72 x 4 samples, but ESPIRiT needs 8"):
        espirit(scan.replace(kspace=scan.kspace * few[:, None], mask=few, source="a.h5"))
    with pytest.raises(DataError, match="is only 0 x 0 samples"):
        calibration_block(torch.zeros(32, 32) > 0)
    with pytest.raises(DataError, match=r"9 map sets cannot be made from 8 coils. Pass sets from 1 to 8"):
        espirit(scan, sets=9)
    with pytest.raises(DataError, match="calibration lines of k-space are zero or not finite"):
        espirit(scan.replace(kspace=0 * scan.kspace))


def test_undersampling_estimates_maps_without_what_was_left_out(scan):
    full = simulate(phantom(72, 64), n_coils=8, acceleration=1, snr_db=35, seed=1).replace(coil_maps=None)
    under = undersample(full, 4, "gaussian2d", seed=2)
    tampered = full.replace(kspace=torch.where(under.mask[:, None] > 0, full.kspace, 5 * full.kspace))
    assert torch.equal(under.maps, undersample(tampered, 4, "gaussian2d", seed=2).maps)
    expected = (under.maps.conj() * ifft(full.kspace)).sum(1)
    torch.testing.assert_close(under.reference, expected)


def test_maps_equal_those_of_bart(tmp_path):
    if not shutil.which("bart"):
        pytest.skip("bart is not installed")
    full = simulate(phantom(72, 64), n_coils=8, acceleration=1, snr_db=35, seed=1)
    values = full.kspace[0].permute(1, 2, 0)[None].numpy()
    (tmp_path / "k.hdr").write_text("# Dimensions\n" + " ".join(map(str, values.shape)) + "\n")
    (tmp_path / "k.cfl").write_bytes(values.ravel(order="F").tobytes())
    subprocess.run(["bart", "ecalib", "-m1", "-r24", "k", "m"], cwd=tmp_path, check=True, capture_output=True)
    theirs = np.fromfile(tmp_path / "m.cfl", np.complex64).reshape(values.shape, order="F")[0].transpose(2, 0, 1)
    inside = full.reference[0].abs() > 0
    assert misfit(espirit(full)[0], torch.from_numpy(theirs.copy()), inside) < 0.01


def test_maps_of_a_real_brain_explain_its_data(brain):
    images = ifft(brain.kspace)[0]
    head = images.abs().square().sum(0).sqrt()
    assert unexplained(espirit(brain)[0], images, head > 0.1 * head.max()) < 0.03


def test_real_brain_is_reconstructed_from_a_quarter_of_its_samples(brain):
    under = undersample(brain, 4, "gaussian2d", seed=1)
    full = under.reference[0].abs()
    x = tikhonov(under.maps[0], under.mask[0], under.kspace[0], 1e-3).abs()
    assert 10 * torch.log10(full.max() ** 2 / (x - full).square().mean()) > 36
    head = ifft(brain.kspace)[0].abs().square().sum(0).sqrt()
    inside = head > 0.1 * head.max()
    assert (under.maps[0].abs().sum(0) > 0)[inside].all()


def test_whitened_noise_is_white_and_signal_is_kept():
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(4, 4, dtype=torch.complex64, generator=generator)
    noise = mix @ torch.randn(4, 5000, dtype=torch.complex64, generator=generator)
    torch.testing.assert_close(noise_covariance(noise), (noise @ noise.mH / 5000).to(torch.complex128))
    kspace = noise[:, :4992].reshape(4, 2, 48, 52).transpose(0, 1)
    white = whiten(kspace, noise)
    assert white.shape == kspace.shape
    covariance = noise_covariance(white.transpose(0, 1).flatten(1))
    torch.testing.assert_close(covariance, torch.eye(4, dtype=torch.complex128), atol=0.05, rtol=0)
    root = torch.linalg.cholesky(noise_covariance(noise)).to(torch.complex64)
    torch.testing.assert_close(torch.einsum("ij,bj...->bi...", root, white), kspace, atol=1e-4, rtol=1e-4)


def test_useless_noise_scans_are_refused():
    noise = torch.randn(4, 100, dtype=torch.complex64)
    with pytest.raises(ShapeError, match="noise scan has 4 coils but k-space has 3"):
        whiten(torch.zeros(1, 3, 8, 8, dtype=torch.complex64), noise)
    with pytest.raises(ShapeError, match=r"Noise of shape \(4, 3\) gives no covariance"):
        noise_covariance(noise[:, :3])
    with pytest.raises(DataError, match="not finite, or a coil of zeros"):
        noise_covariance(noise * torch.tensor([1, 1, 0, 1])[:, None])
    noise[3] = 2j * noise[0]
    with pytest.raises(DataError, match="covariance is singular"):
        whiten(torch.zeros(1, 4, 8, 8, dtype=torch.complex64), noise)


def test_compression_keeps_the_energy_and_the_model():
    full = simulate(phantom(48, 40), n_coils=16, acceleration=2, snr_db=None)
    small = compress_coils(full, 6)
    assert small.kspace.shape == (1, 6, 48, 40)
    assert small.kspace.norm() > 0.97 * full.kspace.norm()
    model = fft(small.maps * full.reference[:, None]) * full.mask[:, None]
    torch.testing.assert_close(small.kspace, model, atol=1e-4, rtol=0)
    powers = small.kspace.abs().square().sum((0, 2, 3))
    assert (powers.diff() <= 0).all()
    assert powers[-1] < 0.1 * powers[0]


def test_compression_to_all_coils_is_unitary_and_takes_the_calibration_along():
    full = simulate(phantom(32, 32), n_coils=5, acceleration=2)
    turned = compress_coils(full.replace(calibration=full), 5)
    torch.testing.assert_close(turned.kspace.abs().square().sum(1), full.kspace.abs().square().sum(1))
    assert turned.calibration is not None
    torch.testing.assert_close(turned.calibration.kspace, turned.kspace)
    with pytest.raises(DataError, match=r"scan of 5 coils cannot be compressed to 6. Pass 1 to 5"):
        compress_coils(full, 6)
