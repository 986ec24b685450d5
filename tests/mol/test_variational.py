"""Total variation and wavelets: what they minimise, and BART."""

import shutil
import subprocess

import numpy as np
import pytest
import torch

from problems import PLANE, VOLUME, random, random_mask
from resolvent import SENSE
from resolvent._errors import DataError
from resolvent.data.metrics import psnr
from resolvent.data.simulate import birdcage_maps
from resolvent.linop import Blur, Decimation, fft
from resolvent.mol.baselines import sense, total_variation, wavelet
from resolvent.mol.baselines.wavelets import HIGH, LOW, analyse, synthesise
from resolvent.mol.scale import intensity

METHODS = pytest.mark.parametrize("method", [total_variation, wavelet], ids=lambda f: f.__name__)


@pytest.fixture(scope="module")
def head():
    """A scan of ellipses, their smooth shading and some noise: k-space, operator and truth, 32 x 32, 4 coils."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    truth = ((x / 0.8) ** 2 + (y / 0.9) ** 2 < 1).float()
    truth += 0.5 * (((x - 0.3) / 0.2) ** 2 + ((y + 0.2) / 0.3) ** 2 < 1) - 0.4 * ((x + 0.3) ** 2 + y**2 < 0.05)
    truth = (truth * (1 - 0.2 * x) * torch.exp(0.5j * y))[None]
    maps, mask = birdcage_maps(4, (32, 32))[None], random_mask(1, 32, 32, density=0.35).float()
    mask[:, 13:19, 13:19] = 1
    noise = 0.02 * random(1, 4, 32, 32, dtype=torch.complex64)
    return mask[:, None] * (fft(maps * truth) + noise), SENSE(maps, mask), truth


@METHODS
def test_sparsity_beats_the_linear_reconstruction(head, method):
    y, A, truth = head
    assert psnr(truth, method(y, A, weight=4e-3, steps=40)) > psnr(truth, sense(y, A)) + 3


@METHODS
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scaled_data_give_the_same_image(head, method, factor):
    y, A, _ = head
    x, scaled = (method(k, A, weight=4e-3, steps=8) for k in (y, factor * y))
    torch.testing.assert_close(scaled / factor, x, rtol=0, atol=1e-3 * float(x.abs().max()))


@METHODS
def test_samples_of_a_batch_do_not_see_each_other(method):
    y = PLANE.kspace(2)
    maps, mask = PLANE.random_maps(2), random_mask(2, 6, 5)
    both = method(y, SENSE(maps, mask), weight=0.01, steps=10)
    for i in (0, 1):
        alone = method(y[i : i + 1], SENSE(maps[i : i + 1], mask[i : i + 1]), weight=0.01, steps=10)
        torch.testing.assert_close(both[i : i + 1], alone, rtol=0, atol=5e-4 * float(alone.abs().max()))


@METHODS
def test_pixels_that_no_coil_sees_are_zero(method):
    maps = PLANE.random_maps()
    maps[..., :2] = 0
    x = method(PLANE.kspace(), SENSE(maps, random_mask(1, 6, 5)), weight=0.01, steps=5)
    assert (x[..., :2] == 0).all()
    assert (x[..., 2:] != 0).all()


@METHODS
def test_volumes_and_frames_are_reconstructed(method):
    x = method(VOLUME.kspace(), VOLUME.operator(), weight=0.01, steps=3, ndim=3)
    assert x.shape == (1, *VOLUME.image)
    slices = method(VOLUME.kspace(), VOLUME.operator(), weight=0.01, steps=3)
    assert not torch.allclose(slices, x, rtol=0, atol=1e-3)  # differences along z enter


@METHODS
def test_slope_is_that_of_finite_differences(method):
    y, A = PLANE.kspace().requires_grad_(), PLANE.operator()
    weight = random(1, 6, 5, seed=5)

    def value(y):
        return (method(y, A, weight=0.02, steps=5, noise=0.1).conj() * weight).real.sum()

    direction = random(*y.shape, seed=6)
    (slope,) = torch.autograd.grad(value(y), y)
    slope = float((slope.conj() * direction).real.sum())
    with torch.no_grad():
        numeric = float(value(y + 1e-3 * direction) - value(y - 1e-3 * direction)) / 2e-3
    assert slope == pytest.approx(numeric, rel=0.02)  # linear solves are exact to 1e-4


@METHODS
@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weight_must_be_positive(head, method, weight):
    with pytest.raises(DataError, match=r"The weight is .*; it must be positive"):
        method(*head[:2], weight=weight)


# ---- what is minimised -----------------------------------------------------------------------------------------


@METHODS
def test_measurements_need_not_have_the_shape_of_the_image(method):
    A = Decimation(2, (17, 18)) @ Blur(torch.ones(2, 2) / 4, (17, 18))
    y = A(random(1, 17, 18).to(torch.complex64))
    assert method(y, A, weight=1e-3, steps=3, noise=0.01).shape == (1, 17, 18)


def test_total_variation_is_at_the_minimum_of_its_function(head):
    y, A, _ = head
    s = float(intensity(sense(y, A)))

    def energy(x, rounding=0.0):
        squares = sum((x.roll(-1, axis) - x).abs().square() for axis in (-1, -2))
        return (A(x) - y).abs().square().sum() / 2 + 4e-3 * s * (squares + rounding**2).sqrt().sum()

    point = torch.view_as_real(sense(y, A)).clone().requires_grad_()
    search = torch.optim.LBFGS([point], max_iter=150, history_size=20, line_search_fn="strong_wolfe")

    def closure():
        search.zero_grad()
        value = energy(torch.view_as_complex(point), rounding=1e-3)
        value.backward()
        return value

    search.step(closure)
    least = float(energy(torch.view_as_complex(point.detach())))
    found = float(energy(total_variation(y, A, weight=4e-3)))
    assert 0.99 * least < found < 1.0005 * least


def test_wavelet_without_undersampling_is_the_soft_threshold_averaged_over_shifts():
    x = random(1, 32, 32, seed=8, dtype=torch.complex64)
    A = SENSE(torch.ones(1, 1, 32, 32, dtype=torch.complex64), torch.ones(32, 32))
    s = float(intensity(x))
    found = wavelet(A(x), A, weight=0.3, steps=1, noise=1e-6, seed=1)
    generator = torch.Generator().manual_seed(1)
    shift = [int(torch.randint(2, (), generator=generator)) for _ in range(2)]
    assert shift == [1, 1]
    c = analyse(x.roll(shift, (1, 2)), (1, 1))
    expected = synthesise(c / c.abs() * (c.abs() - 0.3 * s).clamp_min(0), (1, 1)).roll([-n for n in shift], (1, 2))
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-3)


# ---- the transform ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "levels"), [((8, 16), (1, 1)), ((8, 16), (3, 3)), ((4, 8, 24), (1, 2, 3)), ((6, 5), (1, 0))]
)
def test_wavelet_transform_is_orthonormal(shape, levels):
    x = random(2, *shape)
    c = analyse(x, levels)
    assert c.shape == x.shape
    torch.testing.assert_close(torch.linalg.vector_norm(c), torch.linalg.vector_norm(x))
    torch.testing.assert_close(synthesise(c, levels), x)
    torch.testing.assert_close(analyse(synthesise(x, levels), levels), x)


def test_constant_image_is_the_corner_of_its_pyramid():
    c = analyse(torch.ones(1, 4, 24, dtype=torch.float64), (1, 3))
    torch.testing.assert_close(c[:, :2, :3], torch.full((1, 2, 3), 4.0, dtype=torch.float64))
    assert c[:, 2:].abs().max() < 1e-12
    assert c[..., 3:].abs().max() < 1e-12


def test_wavelet_has_two_vanishing_moments():
    assert sum(LOW) == pytest.approx(2**0.5)
    assert sum(HIGH) == pytest.approx(0, abs=1e-15)
    assert sum(j * g for j, g in enumerate(HIGH)) == pytest.approx(0, abs=1e-15)
    ramp = torch.arange(16.0).expand(1, 16, 16).to(torch.complex128)
    details = analyse(ramp, (1, 1))[..., 8:15]  # but for the last, where the period ends
    assert details.abs().max() < 1e-12


# ---- BART ------------------------------------------------------------------------------------------------------


def write_cfl(path, array):
    """Axes of `array` in BART's order."""
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
    array.astype("<c8").ravel(order="F").tofile(path.with_suffix(".cfl"))


def pics(folder, y, A_maps, *arguments):
    """`bart pics` of one scan, in the units of the data."""
    write_cfl(folder / "k", y[0].numpy().transpose(2, 1, 0)[:, :, None])
    write_cfl(folder / "s", A_maps[0].numpy().transpose(2, 1, 0)[:, :, None])
    command = ["bart", "pics", "-S", *arguments, "k", "s", "x"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return torch.from_numpy(np.fromfile(folder / "x.cfl", "<c8").reshape(y.shape[-2:]).copy())[None]


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed (Debian package bart)")
@pytest.mark.parametrize(
    ("method", "term", "weights", "arguments"),
    [(total_variation, "T:3:0", (4e-3, 8e-3), ("-u", "0.1")), (wavelet, "W:3:0", (2e-3, 4e-3, 8e-3), ())],
    ids=["total_variation", "wavelet"],
)
def test_best_image_is_as_good_as_that_of_bart(tmp_path, head, method, term, weights, arguments):
    y, A, truth = head
    maps = birdcage_maps(4, (32, 32))[None]
    ours = max(psnr(truth, method(y, A, weight=w, steps=60)) for w in weights)
    theirs = max(psnr(truth, pics(tmp_path, y, maps, "-i", "100", "-R", f"{term}:{w}", *arguments)) for w in weights)
    assert ours >= theirs - 0.25


def test_sample_of_zeros_is_reconstructed_as_zeros_beside_others():
    A, y = PLANE.operator(2), PLANE.kspace(2)
    y[1] = 0
    for x in (sense(y, A, noise=0.1), total_variation(y, A, weight=0.01, noise=0.1, steps=3)):
        assert bool((x[1] == 0).all()) and bool(torch.isfinite(x).all()) and bool(x[0].any())


@pytest.mark.parametrize("weight", [0.0, -5.0, torch.inf, torch.nan])
def test_weight_of_sense_is_positive(weight):
    with pytest.raises(DataError, match="must be positive"):
        sense(PLANE.kspace(), PLANE.operator(), weight=weight)
