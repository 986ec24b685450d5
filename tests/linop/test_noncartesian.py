"""Radial and spiral scans against the sum that defines them, the Cartesian operator, BART and dense linear algebra."""

import math
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from problems import dense, random, unit_maps
from resolvent._errors import DataError, ShapeError
from resolvent.data import radial, simulate, spiral
from resolvent.linop import SENSE, NonCartesian, Sampling
from resolvent.linop.nufft import nufft
from resolvent.testing import (
    check_adjoint,
    check_implicit_gradient,
    check_linear,
    check_norm_bound,
    check_normal,
)

pytest.importorskip("finufft")

PLANE, ODD, VOLUME = (6, 8), (7, 5), (4, 5, 6)
TRAJECTORIES = {
    "radial": (PLANE, radial(5, PLANE)),
    "radial, odd": (ODD, radial(4, ODD)),
    "spiral": (PLANE, spiral(2, PLANE)),
    "radial in 3-D": (VOLUME, radial(6, VOLUME)),
}
trajectories = pytest.mark.parametrize(("shape", "places"), TRAJECTORIES.values(), ids=TRAJECTORIES)


def grid(*shape):
    """The places of the Cartesian samples."""
    return torch.stack(torch.meshgrid(*[torch.arange(n) - n // 2 for n in shape], indexing="ij"), -1).double()


@trajectories
@pytest.mark.parametrize("batch", [1, 2])
def test_adjoint_linearity_normal_and_norm(shape, places, batch):
    A = NonCartesian(random(batch, 3, *shape, seed=1), places)
    x = random(batch, *shape)
    check_adjoint(A, x, random(*A(x).shape, seed=3), tol=1e-12)
    check_linear(A, x, tol=1e-12)
    check_normal(A, x, tol=1e-12)
    check_norm_bound(A, x)


@trajectories
def test_norm_bound_is_proved_and_of_the_right_size(shape, places):
    A = NonCartesian(unit_maps(1, 3, *shape), places)
    largest = float(torch.linalg.matrix_norm(dense(A, shape), 2))
    assert largest <= float(A.norm_bound[0]) < 4 * largest


@trajectories
def test_operator_is_the_sum_that_defines_it(shape, places):
    maps, x = random(1, 2, *shape, seed=1), random(1, *shape)
    pixels = grid(*shape).flatten(0, -2) / torch.tensor(shape)
    waves = torch.exp(-2j * math.pi * (places.flatten(0, -2) @ pixels.T)) / math.sqrt(math.prod(shape))
    expected = ((maps * x).flatten(2) @ waves.T).unflatten(-1, places.shape[:-1])
    torch.testing.assert_close(NonCartesian(maps, places)(x), expected, rtol=0, atol=1e-11)


def test_toeplitz_equals_adjoint_after_forward_in_single_precision():
    """The size of a scan: 64 x 64, 20 spokes, to 1e-5 of the image."""
    A = NonCartesian(unit_maps(1, 4, 64, 64).to(torch.complex64), radial(20, (64, 64)))
    check_normal(A, random(1, 64, 64, dtype=torch.complex64), tol=1e-5)
    check_adjoint(A, random(1, 64, 64, dtype=torch.complex64), random(1, 4, 20, 128, dtype=torch.complex64), tol=1e-5)


@pytest.mark.parametrize("shape", [PLANE, ODD, VOLUME])
def test_on_the_places_of_the_grid_it_is_sense(shape):
    maps, x = random(1, 2, *shape, seed=1), random(1, *shape)
    A, B = NonCartesian(maps, grid(*shape)), SENSE(maps, torch.ones(shape), ndim=len(shape))
    torch.testing.assert_close(A(x), B(x), rtol=0, atol=1e-11)
    torch.testing.assert_close(A.norm_bound, B.norm_bound, rtol=1e-4, atol=0)
    torch.testing.assert_close(A.compensation, torch.ones_like(A.compensation), rtol=0, atol=1e-10)
    assert A.compensation is not None and B.compensation is None


def test_frames_and_scans_have_their_own_trajectories():
    maps, x = random(2, 3, 1, *PLANE, seed=1), random(2, 4, *PLANE)
    own = torch.stack([torch.stack([radial(3, PLANE, first=7 * b + 3 * t) for t in range(4)]) for b in range(2)])
    mask = (random(2, 4, 3, 16, seed=5).real > -1).double()
    A = NonCartesian(maps, own, mask)
    assert A(x).shape == (2, 3, 4, 3, 16)
    for b in range(2):
        for t in range(4):
            one = NonCartesian(maps[b : b + 1, :, 0], own[b, t], mask[b, t])
            torch.testing.assert_close(A(x)[b : b + 1, :, t], one(x[b : b + 1, t]), rtol=0, atol=1e-11)
            torch.testing.assert_close(A.compensation[b, :, t], one.compensation[0], rtol=0, atol=1e-11)
    check_adjoint(A, x, random(*A(x).shape, seed=3), tol=1e-12)
    check_normal(A, x, tol=1e-12)
    index = torch.tensor([1])
    torch.testing.assert_close(A.select(index).normal(x[1:]), A.normal(x)[1:], rtol=0, atol=1e-12)
    shared = NonCartesian(maps, radial(3, PLANE))  # one trajectory for all
    assert shared.compensation.shape == (1, 1, 1, 3, 16)
    check_adjoint(shared, x, random(2, 3, 4, 3, 16, seed=3), tol=1e-12)
    check_normal(shared, x, tol=1e-12)


def test_what_the_adjoint_gave_is_the_zero_filled_image_only_where_the_density_is_even():
    maps, places = unit_maps(1, 3, *PLANE), radial(5, PLANE)
    uneven, even = NonCartesian(maps, places), SENSE(maps, torch.ones(PLANE))
    y, z = uneven(random(1, *PLANE)), even(random(1, *PLANE))
    back = even.adjoint(z)
    assert even.zero_filled(z, back) is back
    assert torch.equal(even.zero_filled(z), back)
    weighted = uneven.adjoint(uneven.compensation * y)
    assert torch.equal(uneven.zero_filled(y, uneven.adjoint(y)), weighted)


def test_masked_samples_do_not_count():
    mask = torch.ones(5, 16)
    mask[3:] = 0
    maps, y = unit_maps(1, 3, *PLANE), random(1, 3, 5, 16)
    A, fewer = NonCartesian(maps, radial(5, PLANE), mask), NonCartesian(maps, radial(3, PLANE))
    torch.testing.assert_close(A.adjoint(y), fewer.adjoint(y[:, :, :3]), rtol=0, atol=1e-11)
    torch.testing.assert_close(A.zero_filled(y), fewer.zero_filled(y[:, :, :3]), rtol=0, atol=1e-11)
    x = random(1, *PLANE)
    torch.testing.assert_close(A.normal(x), fewer.normal(x), rtol=0, atol=1e-11)


def test_gradients_reach_image_k_space_and_maps():
    places = radial(3, PLANE)
    x, y, maps = random(1, *PLANE), random(1, 2, 3, 16, seed=3), random(1, 2, *PLANE, seed=1)
    check_implicit_gradient(lambda x: NonCartesian(maps, places)(x).abs().square(), [x])
    check_implicit_gradient(lambda y, maps: NonCartesian(maps, places).adjoint(y), [y, maps])
    check_implicit_gradient(lambda x, maps: NonCartesian(maps, places).normal(x), [x, maps])
    few = places[:1, ::5].reshape(1, -1, 2)
    assert torch.autograd.gradgradcheck(lambda x: nufft(x, few) ** 2, x[None, :, :3, :2].requires_grad_())


def test_density_is_the_ramp_of_many_spokes_and_makes_an_image():
    """Full sampling by even spokes: a sample stands for a strip ``pi |k| / spokes`` wide and half a cell long."""
    n, angle = 32, torch.arange(80, dtype=torch.float64) * math.pi / 80
    places = torch.arange(-16, 16, 0.5).double()[:, None] * torch.stack([angle.sin(), angle.cos()], -1)[:, None]
    weights = NonCartesian(torch.ones(1, 1, n, n, dtype=torch.complex128), places).compensation[0, 0]
    k = places.square().sum(-1).sqrt()
    inside = (k > 3) & (k < n / 2 - 2)
    torch.testing.assert_close(weights[inside], math.pi * k[inside] / 80 / 2, rtol=0.15, atol=0)
    image = (torch.linspace(-1, 1, n) ** 2 + torch.linspace(-1, 1, n)[:, None] ** 2 < 0.5).to(torch.complex128)[None]
    A = NonCartesian(torch.ones(1, 1, n, n, dtype=torch.complex128), places)
    error = lambda x: float((x - image).norm() / image.norm())  # noqa: E731
    assert error(A.zero_filled(A(image))) < 0.15 < error(A.adjoint(A(image)))


def test_a_spiral_turns_as_often_as_asked_at_even_steps():
    arms = torch.view_as_complex(spiral(3, PLANE, turns=5, samples=400) / (torch.tensor(PLANE) / 2))
    assert arms.shape == (3, 400)
    assert arms[:, 0].abs().max() < 1e-3 and torch.allclose(arms[:, -1].abs(), torch.ones(3, dtype=torch.float64))
    step = arms[:, 1:] / arms[:, :-1]
    assert torch.allclose(step[:, 1:].angle().abs().sum(1) / (2 * math.pi), torch.tensor(5.0).double(), atol=0.3)
    length = arms.diff(dim=1).abs()
    assert (length.std(1) / length.mean(1) < 0.05).all()


@pytest.mark.parametrize("places", [radial(40, (96, 96)), spiral(12, (96, 96))], ids=["radial", "spiral"])
@pytest.mark.parametrize("snr_db", [20, 35])
def test_noise_is_found_in_the_outer_samples(places, snr_db):
    disc = torch.linspace(-1, 1, 96) ** 2 + torch.linspace(-1, 1, 96)[:, None] ** 2 < 0.6
    scan = simulate(disc * (1 + 0.4 * torch.linspace(0, 20, 96).cos()), n_coils=8, snr_db=snr_db)
    A = NonCartesian(scan.maps, places)
    clean = A(scan.reference)
    white = torch.randn(clean.shape, dtype=clean.dtype, generator=torch.Generator().manual_seed(0))
    assert A.noise(clean + scan.noise * white).item() == pytest.approx(scan.noise, rel=0.15)


def test_weights_of_samples_do_not_weigh_their_noise():
    maps, y = unit_maps(1, 3, *PLANE), random(1, 3, 5, 16)
    whole, half = (NonCartesian(maps, radial(5, PLANE), w * torch.ones(5, 16)) for w in (1, 0.5))
    assert torch.equal(whole.noise(y), half.noise(y))


COMPOSED = {
    "of sampled images": lambda A: A @ Sampling(torch.ones(PLANE)),
    "of sampled images, twice": lambda A: (A @ Sampling(torch.ones(PLANE))) @ Sampling(torch.ones(PLANE)),
    "sampled": lambda A: Sampling(torch.ones(1, 1, 5, 16)) @ A,
    "adjoint twice": lambda A: (A @ Sampling(torch.ones(PLANE))).H.H,
    "adjoint": lambda A: (A @ Sampling(torch.ones(PLANE))).H,
}


@pytest.mark.parametrize("compose", COMPOSED.values(), ids=COMPOSED)
def test_what_is_composed_of_it_is_as_exact_in_double(compose):
    single = compose(NonCartesian(unit_maps(2, 3, *PLANE).to(torch.complex64), radial(5, PLANE)))
    double, x = single.to_double(), random(2, *PLANE)
    if compose is COMPOSED["adjoint"]:
        double = double.H
    check_normal(double, x, tol=1e-12)
    rows = torch.tensor([1])
    assert torch.allclose(double.select(rows).normal(x[rows]), double.normal(x)[rows], rtol=0, atol=1e-12)


def test_operator_survives_pickle_and_double():
    A = NonCartesian(unit_maps(2, 3, *PLANE).to(torch.complex64), radial(5, PLANE))
    x = random(2, *PLANE, dtype=torch.complex64)
    assert pickle.loads(pickle.dumps(A)).normal(x).equal(A.normal(x))
    exact = A.to_double()
    check_normal(exact, x.to(torch.complex128), tol=1e-12)  # the spectrum is not that of single precision
    assert A.spectrum.dtype == torch.float32 and A.select(torch.tensor([1]))(x[1:]).shape == (1, 3, 5, 16)


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
@pytest.mark.parametrize("options", [["-r", "-y5"], ["-r", "-G", "-y7"]], ids=["radial", "golden"])
def test_transform_is_that_of_bart(tmp_path, options):
    from resolvent.data.io.cfl import read_array, write_cfl

    def bart(*words):
        subprocess.run(["bart", *words], cwd=tmp_path, check=True, capture_output=True)

    bart("traj", "-x24", *options, "t")
    x = random(1, 24, 24, dtype=torch.complex64)
    write_cfl(str(tmp_path / "x.cfl"), x, 2, coils=False)
    bart("nufft", "t", "x", "k")
    theirs = torch.from_numpy(read_array(str(tmp_path / "k")).squeeze().T.copy())
    places = torch.from_numpy(np.ascontiguousarray(read_array(str(tmp_path / "t")).squeeze().real.T[..., 1::-1]))
    ours = NonCartesian(torch.ones(1, 1, 24, 24, dtype=torch.complex64), places)(x)[0, 0]
    inside = places.abs().amax(-1) < 10  # at the border BART's gridding leaves out what wraps round
    torch.testing.assert_close(ours[inside], theirs[inside], rtol=0, atol=2e-3 * float(theirs.abs().max()))


def test_messages_name_what_does_not_fit(monkeypatch):
    maps, places = unit_maps(2, 3, *PLANE), radial(5, PLANE)
    A = NonCartesian(maps, places)
    with pytest.raises(ShapeError, match=r"image has axes \(8, 6\) after the batch but the operator maps \(6, 8\)"):
        A(random(2, 8, 6))
    with pytest.raises(ShapeError, match=r"k-space has axes \(3, 5, 15\)"):
        A.adjoint(random(2, 3, 5, 15))
    with pytest.raises(ShapeError, match=r"image has 3 samples \(axis 0\) but the operator has 2"):
        A(random(3, *PLANE))
    with pytest.raises(ShapeError, match=r"the trajectory has 4 components"):
        NonCartesian(maps, torch.zeros(5, 16, 4))
    with pytest.raises(ShapeError, match="Give one readout a first axis of length 1"):
        NonCartesian(maps, places[None, None])
    with pytest.raises(ShapeError, match="differ in batch, lead or samples"):
        NonCartesian(maps, places, torch.ones(5, 15))
    with pytest.raises(DataError, match="maps hold NaN"):
        NonCartesian(0 * maps, places)
    with pytest.raises(DataError, match="the trajectory holds NaN"):
        NonCartesian(maps, places * math.nan)
    with pytest.raises(DataError, match=r"reaches 5\.977 cycles per field of view along axis 0, but 6 pixels"):
        NonCartesian(maps, 2 * places)
    with pytest.raises(DataError, match="mask has values outside"):
        NonCartesian(maps, places, torch.full((5, 16), 2.0))
    with pytest.raises(DataError, match="0 spokes"):
        radial(0, PLANE)
    with pytest.raises(DataError, match="0 arms"):
        spiral(0, PLANE)
    monkeypatch.setitem(sys.modules, "finufft", None)
    with pytest.raises(DataError, match=r"Run: pip install 'resolvent\[nufft\]'"):
        NonCartesian(maps, places)


def test_trajectory_that_is_to_be_learned_is_refused():
    with pytest.raises(DataError, match="requires a gradient"):
        NonCartesian(torch.ones(1, 1, 8, 8, dtype=torch.complex64), radial(5, (8, 8)).requires_grad_())
