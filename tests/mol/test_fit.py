"""Whether the image explains the measurements: what a certificate, which is about the equation, does not say."""

import pytest
import torch

import resolvent as rv
from problems import random, unit_maps
from resolvent._errors import ShapeError
from resolvent.linop import Blur, Sampling
from resolvent.mol.fit import DOUBTFUL, NOTHING, ONLY_NOISE, WRONG_PHYSICS, Fit, fit


def scan(noise: float = 0.0, coils: int = 6):
    """An image, its physics, and what was measured of it; where nothing was, numbers that must not count."""
    torch.manual_seed(0)
    A = rv.SENSE(unit_maps(2, coils, 24, 20), torch.rand(2, 24, 20) < 0.5)
    x = random(2, 24, 20)
    y = A(x) + noise * random(2, coils, 24, 20)
    return A, x, torch.where(A.mask != 0, y, 7.0)


def of(misfit: list, noise: list, size: list | None = None) -> Fit:
    return Fit(
        torch.tensor(misfit), torch.tensor(noise), torch.ones(len(misfit)) if size is None else torch.tensor(size)
    )


def test_what_the_image_explains_is_not_left():
    A, x, y = scan()
    found = fit(A, x, y, 0.0)
    assert float(found.misfit.max()) < 1e-12 and not found.doubtful
    half = fit(A, x / 2, y, 0.0)
    assert torch.allclose(half.misfit, torch.full((2,), 0.5, dtype=torch.float64)) and half.doubtful
    assert torch.equal(half.misfit, half.unexplained)


def test_noise_is_what_it_leaves_of_the_measured_samples():
    sigma = 0.05
    A, x, y = scan(noise=sigma)
    found = fit(A, x, y, sigma)
    assert torch.allclose(found.misfit, found.noise, rtol=0.05)
    assert float(found.unexplained.max()) < DOUBTFUL and not found.doubtful
    assert torch.allclose(fit(A, 10 * x, 10 * y, 10 * sigma).noise, found.noise)
    assert torch.allclose(fit(A, x, y, torch.tensor([sigma, 0.0])).noise, found.noise * torch.tensor([1.0, 0.0]))


def test_unknown_noise_excuses_everything():
    A, x, y = scan()
    found = fit(A, x / 2, y, None)
    assert not found.doubtful and found.record()["unexplained"] == [None, None]
    assert found.text == "|A x - b| = 50 % of |b| (noise unknown)"


def test_the_worst_scan_is_named():
    found = of([0.3, 0.2], [0.29, 0.01])
    assert found.text == "|A x - b| = 20 % of |b| (noise 1 %)" and found.doubtful


@pytest.mark.parametrize(("noise", "said"), [(0.5, False), (0.8, False), (0.95, True), (1.0, True)])
def test_hardly_anything_but_noise_is_a_doubt(noise, said):
    found = of([0.1, noise], [0.1, noise])
    assert found.doubtful == found.record()["doubtful"] == said
    assert found.doubt == (f"slice 2 of 2: the noise is {100 * noise:g} % of |b|: {ONLY_NOISE}" if said else "")
    assert found.text == "|A x - b| = 10 % of |b| (noise 10 %)"


def test_two_doubts_are_both_said():
    found = of([0.3, 1.0], [0.1, 1.0])
    assert found.doubt == (
        f"slice 1 of 2: |A x - b| = 30 % of |b| (noise 10 %): {WRONG_PHYSICS}; "
        f"slice 2 of 2: the noise is 100 % of |b|: {ONLY_NOISE}"
    )


def test_what_noise_leaves_of_nothing_is_not_blamed_on_the_physics():
    found = of([0.04, 0.99], [0.04, 0.97])
    assert found.unexplained[1] > DOUBTFUL and WRONG_PHYSICS not in found.doubt
    assert found.doubt.startswith("slice 2 of 2: the noise is 97 % of |b|")


def series(frames: int = 3):
    """A series whose frames were each measured with a mask of its own, and the image that explains it."""
    torch.manual_seed(0)
    A = rv.SENSE(unit_maps(1, 6, 24, 20).unsqueeze(2), (torch.rand(1, frames, 24, 20) < 0.5).float(), ndim=2)
    x = random(1, frames, 24, 20)
    return A, x, A(x)


def test_frames_of_a_series_are_seen_one_by_one():
    A, x, y = series()
    changed = y.index_fill(2, torch.tensor(1), 0) + 1.1 * y * (torch.arange(3) == 1).reshape(3, 1, 1)
    found = fit(A, x, changed, 0.0)
    assert found.misfit.shape == (1, 3)
    torch.testing.assert_close(found.misfit, torch.tensor([[0, 0.1 / 1.1, 0]]).double(), atol=1e-9, rtol=1e-6)
    assert not found.doubtful
    frames = found.pooled(1)
    assert frames.misfit.shape == frames.size.shape == (1,)
    torch.testing.assert_close(frames.size, changed.flatten().abs().square().sum().sqrt().reshape(1))
    wrong = fit(A, x, y * torch.tensor([1, -1, 1]).reshape(3, 1, 1), 0.0)
    assert wrong.doubt == f"frame 2 of 3: |A x - b| = 200 % of |b| (noise 0 %): {WRONG_PHYSICS}"
    assert wrong.record()["misfit"][0][1] == pytest.approx(2)


def test_a_sampling_of_a_series_has_its_frames():
    A, x, y = series()
    thinned = Sampling(torch.ones(1, 6, 3, 24, 20)) @ A
    assert fit(thinned, x, y, 0.0).misfit.shape == (1, 3)
    assert fit(A @ Sampling(torch.ones(1, 3, 24, 20)), x, y, 0.0).misfit.shape == (1, 3)


def test_one_wrong_frame_of_many_is_named():
    """Of the norm over all 100 it would be a tenth of its own."""
    A, x, y = series(frames=100)
    found = fit(A, x, y * (1 - 0.5 * (torch.arange(100) == 7)).reshape(100, 1, 1), 0.0)
    assert found.pooled().misfit < DOUBTFUL < 1 == found.misfit[0, 7]
    assert found.doubt.startswith("frame 8 of 100: ")


def frames(misfit: list, noise: list, size: list) -> Fit:
    return Fit(*(torch.tensor([values]) for values in (misfit, noise, size)))


def test_late_echoes_are_no_doubt_about_the_others():
    echoes = frames([0.02, 0.30, 0.97], [0.02, 0.28, 0.96], [10.0, 1.0, 0.5])
    assert not echoes.doubtful
    assert echoes.faint == f"frame 3 of 3: the noise is 96 % of |b|: {ONLY_NOISE}"
    assert frames([0.95, 0.97], [0.95, 0.97], [1.0, 1.0]).doubts["noise"] == f"the noise is 96 % of |b|: {ONLY_NOISE}"


@pytest.mark.parametrize(
    ("misfit", "noise", "named"),
    [
        (0.45, 0.4, ""),  # 0.21 are left, less than the noise: it may have been underestimated
        (0.60, 0.4, "frame 2 of 2: "),  # 0.45 are
        (0.30, 0.2, "frame 2 of 2: "),
    ],
)
def test_a_frame_is_doubted_by_itself_if_it_leaves_more_than_its_noise(misfit, noise, named):
    found = frames([0.01, misfit], [0.01, noise], [10.0, 1.0])
    assert found.doubt.startswith(named) and found.doubtful == bool(named)


def test_a_frame_without_a_sample_is_named():
    A, x, y = series()
    mask = A.mask[:, 0].index_fill(1, torch.tensor(2), 0)
    B = rv.SENSE(A.maps, mask, ndim=2)
    found = fit(B, x, y, 0.0)
    assert found.doubtful and found.doubt == f"frame 3 of 3: {NOTHING}"
    assert found.record()["misfit"][0][2] is None and found.text == "|A x - b| = 0 % of |b| (noise 0 %)"


def test_planes_of_air_count_in_a_volume_as_little_as_they_hold():
    planes = of([0.02, 0.99, 0.05], [0.01, 0.98, 0.05], [10.0, 0.1, 1.0])
    assert planes.doubtful and not planes.pooled().doubtful
    squares = (0.2**2 + 0.099**2 + 0.05**2) / (10**2 + 0.1**2 + 1)
    torch.testing.assert_close(planes.pooled().misfit, torch.tensor([squares**0.5]))
    assert planes.pooled().size == pytest.approx((10**2 + 0.1**2 + 1) ** 0.5)


@pytest.mark.parametrize("A", [Sampling(torch.eye(8)), Sampling(torch.eye(8)) @ Blur(torch.ones(3, 3) / 9, (8, 8))])
def test_other_physics_measure_what_their_adjoint_takes_notice_of(A):
    y = random(1, 8, 8)
    assert torch.equal(A.measured(y), torch.eye(8) * y)
    assert torch.allclose(A.adjoint(A.measured(y)), A.adjoint(y))


@pytest.mark.parametrize("axes", [(1, 6, 24), (1, 24, 20), (1, 5, 24, 20)])
def test_kspace_that_does_not_fit_is_named_before_its_noise_is_looked_for(axes):
    A = rv.SENSE(unit_maps(1, 6, 24, 20).to(torch.complex64), torch.ones(1, 24, 20))
    for noise in (None, 0.1):
        with pytest.raises(ShapeError, match="k-space has"):
            rv.load("brain-2d").solve(random(*axes, dtype=torch.complex64), A, noise=noise)


@pytest.mark.parametrize("change", ["none", "mirrored", "transposed", "conjugate", "another order", "one sign"])
def test_maps_of_another_scan_do_not_explain_the_measurements(change):
    """The certificate of each of these images is proved."""
    image = (torch.linspace(-1, 1, 48) ** 2 < 0.6).float().outer((torch.linspace(-1, 1, 48) ** 2 < 0.4).float())
    measured = rv.simulate(image, n_coils=8, acceleration=3, snr_db=30, seed=1)
    maps = measured.maps
    signs = torch.ones(8).index_fill_(0, torch.tensor([2]), -1).reshape(1, 8, 1, 1)
    wrong = {
        "none": maps,
        "mirrored": maps.flip(-1),
        "transposed": maps.transpose(-1, -2).contiguous(),
        "conjugate": maps.conj().resolve_conj(),
        "another order": maps.roll(1, 1),
        "one sign": maps * signs,
    }[change]
    recon = rv.load("brain-2d").solve(measured.kspace, rv.SENSE(wrong, measured.mask), noise=measured.noise)
    assert recon.certificate.proved
    assert recon.fit.doubtful == (change != "none")
    assert recon.record()["fit"]["doubtful"] == recon.fit.doubtful
