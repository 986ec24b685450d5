import itertools
from unittest import mock

import pytest
import torch

from problems import DYNAMIC, PLANE, VOLUME, random
from resolvent import SENSE
from resolvent.data import birdcage_maps, make_mask
from resolvent.linop import Sampling, fourier
from resolvent.mol import MOL
from resolvent.mol.equation import Work, resolvent
from resolvent.mol.evidence import misfit, unseen
from resolvent.mol.scale import intensity
from resolvent.monotone import ResidualStack

SIZE = (48, 40)


def scanned(kind, acceleration, coils=6, seed=0):
    mask, maps = make_mask(kind, SIZE, acceleration, seed=seed)[0], birdcage_maps(coils, SIZE, seed=seed)
    return float(unseen(SENSE(maps[None], mask.float()[None], ndim=2), torch.zeros(1, *SIZE, dtype=torch.complex64), 2))


def test_it_is_what_the_mask_leaves_of_a_spectrum_that_falls_with_frequency():
    y, x = torch.meshgrid(*(torch.arange(n) - n // 2 for n in (200, 160)), indexing="ij")
    power = (1.0 + y**2 + x**2) ** -1.5
    like = torch.zeros(1, 200, 160, dtype=torch.complex128)
    for mask in (torch.rand(200, 160, generator=torch.Generator().manual_seed(3)) < 0.7, x % 3 == 0, x**2 + y**2 < 900):
        expected = float((power * ~mask).sum() / power.sum())
        found = float(unseen(fourier(mask.double()), like, 2))
        assert found == pytest.approx(expected, rel=0.5, abs=0.02)  # one draw of the phases and magnitudes


def test_a_scan_that_is_complete_leaves_nothing_open():
    like = torch.zeros(1, *SIZE, dtype=torch.complex64)
    maps = birdcage_maps(4, SIZE, seed=1)[None]
    assert float(unseen(SENSE(maps, torch.ones(1, *SIZE), ndim=2), like, 2)) < 1e-5


def test_it_grows_with_the_acceleration_and_where_whole_lines_are_missing():
    for kind in ("gaussian2d", "uniform1d"):
        found = [scanned(kind, R) for R in (2, 4, 8)]
        assert found == sorted(found) and found[-1] > 1.5 * found[0]
    assert scanned("uniform1d", 6) > 2 * scanned("gaussian2d", 6)


@pytest.mark.parametrize("setting", [PLANE, VOLUME, DYNAMIC], ids=lambda s: s.name)
def test_each_sample_of_a_batch_has_its_own(setting):
    maps, like = setting.random_maps(batch=2), torch.zeros(2, *setting.image, dtype=torch.complex128)
    maps = maps / maps.abs().square().sum(1, keepdim=True).sqrt()
    A = setting.operator(maps=maps, mask=(torch.rand(2, *setting.mask) < 0.6).double())
    both = unseen(A, like, setting.network)
    alone = [unseen(A.select(torch.tensor([i])), like[:1], setting.network) for i in (0, 1)]
    torch.testing.assert_close(both, torch.cat(alone))
    assert ((both > 0) & (both < 1)).all() and both[0] != both[1]


def test_pixels_that_no_coil_sees_do_not_count():
    maps = birdcage_maps(4, SIZE, seed=1)[None]
    maps[..., :20] = 0
    like = torch.zeros(1, *SIZE, dtype=torch.complex64)
    assert float(unseen(SENSE(maps, torch.ones(1, *SIZE), ndim=2), like, 2)) < 1e-5


def brain(sigma, maps, R=2, seed=0):
    """K-space of an image with noise, and the mask."""
    mask = make_mask("gaussian2d", SIZE, R, seed=seed)[0].float()[None]
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    image = ((y**2 + x**2 < 0.7) * (1 + y * x) * torch.exp(1j * y))[None]
    noise = random(1, maps.shape[1], *SIZE, dtype=torch.complex64, seed=7)
    noise = noise / noise.abs().square().mean().sqrt()
    complete = SENSE(maps, torch.ones(1, *SIZE), ndim=2)
    return SENSE(maps, mask, ndim=2), mask * (complete(image.expand(len(maps), -1, -1)) + sigma * noise)


def test_with_exact_maps_the_misfit_is_the_noise_that_is_left_when_every_pixel_is_fitted():
    maps = birdcage_maps(8, SIZE, seed=1)[None]
    for sigma in (0.03, 0.3):
        A, y = brain(sigma, maps)
        found = misfit(A, y, A.adjoint(y))
        free = 1 - 1 / (8 / 2)  # of each sample, when 8 coils at R = 2 have four samples for a pixel
        assert float(found[A.mask != 0].square().mean().sqrt()) == pytest.approx(sigma * free**0.5, rel=0.1)


def test_maps_that_err_show_in_the_misfit():
    maps, other = birdcage_maps(8, SIZE, seed=1)[None], birdcage_maps(8, SIZE, seed=2)[None]
    wrong = maps + 0.2 * other
    wrong = wrong / wrong.abs().square().sum(1, keepdim=True).sqrt()
    A, y = brain(0.01, maps)
    B = SENSE(wrong, A.mask[:, 0], ndim=2)
    found, expected = misfit(B, y, B.adjoint(y)), misfit(A, y, A.adjoint(y))
    assert found.max() > 3 * expected.max()
    assert found.max() == found[A.frequency < 0.2].min() > 3 * found.min(), "most of it where the samples are largest"


@pytest.mark.parametrize("kind", ["gaussian2d", "gaussian1d"])
def test_the_misfit_is_shared_out_among_rings_as_noise_that_would_leave_it(kind):
    maps = birdcage_maps(6, SIZE, seed=1)[None]
    mask = make_mask(kind, SIZE, 3, seed=0)[0].float()[None]
    A, y = SENSE(maps, mask, ndim=2), random(1, 6, *SIZE, dtype=torch.complex64, seed=3)
    decay = torch.exp(-(torch.linspace(-3, 3, SIZE[0])[:, None] ** 2) - torch.linspace(-3, 3, SIZE[1]) ** 2)
    y, white = mask * y * decay, mask * random(1, 6, *SIZE, dtype=torch.complex64, seed=5)
    power, expected = (  # of what is of no image: most of it in the middle, and of white noise
        (A(resolvent(A, torch.tensor([1000.0]), 1000 * A.adjoint(t), tol=1e-4)) - t).abs().square() for t in (y, white)
    )
    found = misfit(A, y, A.adjoint(y), tol=1e-4)
    assert found.shape == A.frequency.shape
    there = (y != 0).expand(y.shape)
    levels, radius = found.expand(y.shape), A.frequency.expand(y.shape)
    rings = [(levels == level) & there for level in found.unique()]
    noise = torch.stack([power[ring].mean() / expected[ring].mean() for ring in rings]).sqrt()
    mine = torch.stack([levels[ring].mean() for ring in rings])
    torch.testing.assert_close(mine / mine.max(), noise / noise.max(), rtol=0.15, atol=0)  # the white noise is a draw
    assert float((levels[there] ** 2).mean()) == pytest.approx(float(power[there].mean()), rel=1e-3)
    ends = sorted((float(radius[ring].min()), float(radius[ring].max())) for ring in rings)
    assert len(ends) == 4 and all(a[1] < b[0] for a, b in itertools.pairwise(ends))
    assert all(abs(int(ring.sum()) - int(there.sum()) / 4) < 0.1 * int(there.sum()) for ring in rings)


@pytest.mark.parametrize("coils", [3, 12])
def test_white_noise_has_the_same_misfit_in_all_rings(coils):
    A, y = brain(0.1, birdcage_maps(coils, SIZE, seed=1)[None], R=3)
    found = misfit(A, y, A.adjoint(y))
    assert float(found.max() / found.min()) < 1.15


def test_where_samples_have_no_frequency_or_all_the_same_their_misfit_is_one():
    A, y = brain(0.1, birdcage_maps(4, SIZE, seed=1)[None])
    rms = (misfit(A, y, A.adjoint(y)).square() * A.mask).sum() / A.mask.sum()
    B = Sampling(torch.ones(1, 1, *SIZE)) @ A
    found = misfit(B, y, B.adjoint(y))
    assert found.shape == (1, 1, 1, 1)
    torch.testing.assert_close(found.squeeze(), rms.sqrt(), rtol=0.02, atol=0)
    single = torch.zeros(1, *SIZE)
    single[:, SIZE[0] // 2, SIZE[1] // 2] = 1  # three rings of four hold none
    A = SENSE(birdcage_maps(4, SIZE, seed=1)[None], single, ndim=2)
    assert torch.isfinite(misfit(A, single[:, None] * y, A.adjoint(y))).all()


def test_samples_are_weighted_by_the_root_of_the_lam_of_their_ring():
    model = MOL(ResidualStack(channels=4, layers=2), lam=50.0, normalise=True)
    A, y = brain(0.01, birdcage_maps(4, SIZE, seed=1)[None], R=4)
    y = y * (1 + 0.5 * (A.frequency < 0.3) * (torch.arange(4).reshape(1, 4, 1, 1) == 1))  # a gain that no map knows
    with torch.no_grad():
        scan = model.in_units(y, A, 0.01, ndim=2)
    x0 = intensity(A.adjoint(y))
    level = torch.hypot(misfit(A, y, A.adjoint(y)), torch.tensor(0.01)) / x0
    lam = 1 / (1 + level / 0.002)
    torch.testing.assert_close(scan.worth.square(), lam / lam.max(), rtol=1e-5, atol=0)
    assert float(scan.worth.amin()) < 0.7 and float(scan.worth.amax()) == 1
    assert float(scan.worth[A.frequency < 0.05].max()) == float(scan.worth.amin())
    x = torch.ones(1, *SIZE, dtype=torch.complex64)
    torch.testing.assert_close(scan.A(x), scan.worth * A(x))
    torch.testing.assert_close(scan.y, scan.worth * y / scan.scale)
    torch.testing.assert_close(scan.data, scan.lam * A.adjoint(scan.worth**2 * y) / scan.scale)
    assert MOL(ResidualStack(channels=4, layers=2), lam=50.0).in_units(y, A, 0.01, ndim=2).worth is None


def test_the_misfit_scales_with_the_data_and_takes_no_notice_of_what_was_not_measured():
    maps = birdcage_maps(4, SIZE, seed=1)[None].repeat(2, 1, 1, 1)
    A, y = brain(0.1, maps)
    y = torch.cat([y[:1], 50 * y[1:].flip(1)])
    found = misfit(A, y, A.adjoint(y))
    for scale in (8.0, 2.0**-90, 2.0**90):  # the squares of which would leave single precision
        torch.testing.assert_close(misfit(A, scale * y, A.adjoint(scale * y)), scale * found, rtol=1e-5, atol=0)
    beside = y + (A.mask == 0) * 1e3
    torch.testing.assert_close(misfit(A, beside, A.adjoint(beside)), found, rtol=1e-4, atol=0)
    one = A.select(torch.tensor([1]))
    torch.testing.assert_close(misfit(one, y[1:], one.adjoint(y[1:])), found[1:], rtol=1e-5, atol=0)


@pytest.mark.parametrize("setting", [PLANE, VOLUME, DYNAMIC], ids=lambda s: s.name)
def test_each_sample_of_a_batch_has_rings_of_its_own(setting):
    A = setting.operator(2, mask=(torch.rand(2, *setting.mask) < 0.6).double())
    y = A.measured(setting.kspace(2))
    both, alone = misfit(A, y, A.adjoint(y), tol=1e-6), []
    for i in (0, 1):
        one = A.select(torch.tensor([i]))
        alone.append(misfit(one, y[i : i + 1], one.adjoint(y[i : i + 1]), tol=1e-6))
    torch.testing.assert_close(both, torch.cat(alone), rtol=1e-4, atol=0)
    assert both[0].unique().numel() > 1 and not both[0].equal(both[1])


def test_what_a_sampling_leaves_out_is_no_misfit_whatever_the_data_hold_there():
    A, y = brain(0.05, birdcage_maps(4, SIZE, seed=1)[None])
    part = (torch.arange(y.shape[-1]) % 4 != 1).float().expand(1, 1, *y.shape[-2:])
    B, noise = Sampling(part) @ A, 100 * torch.randn(y.shape, generator=torch.Generator().manual_seed(5))
    found = misfit(B, part * y, B.adjoint(y))
    torch.testing.assert_close(misfit(B, y + (A.mask == 0) * noise, B.adjoint(y)), found, rtol=1e-4, atol=0)


def test_lam_is_that_of_the_formula():
    model = MOL(ResidualStack(channels=4, layers=2), lam=50.0, normalise=True)
    maps = birdcage_maps(4, SIZE, seed=1)[None]
    for sigma in (0.01, 0.2):
        A, y = brain(sigma, maps, R=4)
        scan = model.in_units(y, A, sigma, ndim=2)
        share, level = unseen(A, y[:, 0], 2), misfit(A, y, A.adjoint(y)).amin() / scan.scale
        level = torch.hypot(level, sigma / scan.scale)
        expected = 50 * ((share + 0.02) / 0.12) ** 0.5 / (1 + level / 0.002)
        torch.testing.assert_close(scan.lam, expected.detach(), rtol=1e-4, atol=0, check_dtype=False)


def test_the_equation_of_other_measurements_has_the_weights_of_these():
    model = MOL(ResidualStack(channels=4, layers=2), lam=50.0, normalise=True)
    maps = birdcage_maps(4, SIZE, seed=1)[None].repeat(2, 1, 1, 1)
    A, y = brain(0.01, maps, R=4)
    y[1] *= 1 + 0.5 * (A.frequency[0] < 0.3) * (torch.arange(4).reshape(4, 1, 1) == 1)
    with torch.no_grad():
        equation, scale, _ = model.pose(y, A, 0.01)
    turned = torch.tensor([1, 0, 1])
    again = equation.select(turned).of((y / scale.reshape(2, 1, 1, 1))[turned])
    torch.testing.assert_close(again.y, equation.y[turned])
    assert float(equation.worth[1].amin()) < 0.8 < float(equation.worth[0].amin())


def test_work_of_both_is_counted():
    maps = birdcage_maps(4, SIZE, seed=1)[None]
    A, y = brain(0.1, maps)
    spent = []
    for normalise in (False, True):
        model, work = MOL(ResidualStack(channels=4, layers=2), lam=50.0, normalise=normalise), Work()
        with mock.patch.object(SENSE, "normal", autospec=True, side_effect=SENSE.normal) as normal:
            model.in_units(y, A, 0.1, work, ndim=2)
        assert work.applications == normal.call_count
        spent.append(normal.call_count)
    assert spent[1] > spent[0] + 1
