from unittest import mock

import pytest
import torch

from problems import DYNAMIC, PLANE, VOLUME, random
from resolvent import SENSE
from resolvent.data import birdcage_maps, make_mask
from resolvent.linop import Sampling, fourier
from resolvent.mol import MOL
from resolvent.mol.equation import Work
from resolvent.mol.evidence import misfit, unseen
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
        found = float(misfit(A, y, A.adjoint(y)))
        free = 1 - 1 / (8 / 2)  # of each sample, when 8 coils at R = 2 have four samples for a pixel
        assert found == pytest.approx(sigma * free**0.5, rel=0.1)


def test_maps_that_err_show_in_the_misfit():
    maps, other = birdcage_maps(8, SIZE, seed=1)[None], birdcage_maps(8, SIZE, seed=2)[None]
    wrong = maps + 0.2 * other
    wrong = wrong / wrong.abs().square().sum(1, keepdim=True).sqrt()
    A, y = brain(0.01, maps)
    B = SENSE(wrong, A.mask[:, 0], ndim=2)
    assert float(misfit(B, y, B.adjoint(y))) > 3 * float(misfit(A, y, A.adjoint(y)))


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
        share, level = unseen(A, y[:, 0], 2), misfit(A, y, A.adjoint(y)) / scan.scale
        level = torch.hypot(level, sigma / scan.scale)
        expected = 50 * ((share + 0.02) / 0.12) ** 0.5 / (1 + level / 0.002)
        torch.testing.assert_close(scan.lam, expected.detach(), rtol=1e-4, atol=0, check_dtype=False)


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
