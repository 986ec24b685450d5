"""What theory says that reconstructions are equal to, against dense algebra and BART."""

import shutil
import subprocess

import numpy as np
import pytest
import torch

from problems import (
    DYNAMIC,
    FRAMES,
    KINDS,
    PLANE,
    SETTINGS,
    VOLUME,
    LinearScore,
    Setting,
    dense,
    random,
    small_scores,
)
from resolvent.linop import SENSE
from resolvent.linop.fourier import fft
from resolvent.mol import MOL
from resolvent.mol.baselines import MoDL, sense
from resolvent.mol.baselines.network import noise_level
from resolvent.monotone import PlainCNN, Score
from resolvent.solve import fixed_point, norm

kinds = pytest.mark.parametrize("kind", KINDS)
settings = pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)


@pytest.fixture(autouse=True)
def values_only():
    with torch.no_grad():
        yield


def exact(model):
    """The model with every tolerance at the limit of double precision."""
    model.tol = model.adjoint_tol = 1e-12
    model.linear_tol, model.max_steps = 1e-14, 2000
    return model.double()


def eye(size):
    return torch.eye(size, dtype=torch.float64)


def solve(equation, x0, tol=1e-11):
    solution = equation.solve(x0, tol=tol, max_steps=3000)
    assert solution.converged
    return solution.x


def distance(a, b):
    return float((norm(a - b) / norm(b)).max())


@kinds
@pytest.mark.parametrize("setting", [PLANE, VOLUME], ids=lambda s: s.name)
def test_unrolled_steps_of_size_one_are_modl(kind, setting):
    # MoDL: z = H(x), x <- argmin lam |A x - b|^2 + |x - z|^2, K = 10 times, shared weights
    A, y = setting.operator(), setting.kspace()
    model = exact(MOL(small_scores(setting.network)[kind], lam=20.0))
    equation, _, context = model.pose(y, A)
    matrix = dense(A, setting.image)
    system = eye(matrix.shape[1]) + equation.lam * matrix.mH @ matrix
    ours = modl = context.sense
    for _ in range(10):
        rhs = equation.score.H(modl).reshape(-1) + equation.lam * matrix.mH @ y.reshape(-1)
        modl = torch.linalg.solve(system, rhs).reshape(modl.shape)
        ours = ours - equation.resolvent(equation.residual(ours), shift=1.0, tol=1e-14)
        torch.testing.assert_close(ours, modl, rtol=0, atol=1e-11 * float(norm(modl)))


class Residual(PlainCNN):
    """The score ``F = -cnn([x, noise])`` of a MoDL network at a noise level."""

    def __init__(self, modl, level):
        super().__init__(m=0.3, channels=1, depth=2, ndim=modl.ndim)
        self.network = lambda x, shared, own: x + modl.denoiser(x, level)

    def condition(self, context=None):
        return Score(self.network, ())


@pytest.mark.parametrize("setting", [PLANE, VOLUME], ids=lambda s: s.name)
def test_modl_is_plain_steps_of_size_one_from_sense(setting):
    A, y = setting.operator(2), setting.kspace(2)
    torch.manual_seed(0)
    modl = MoDL(channels=4, depth=3, lam=20.0, ndim=setting.network).double()
    modl.linear_tol = 1e-13
    level = noise_level(modl.in_units(y, A, 0.1, ndim=modl.ndim), modl.ndim)
    equation, _, _ = exact(MOL(Residual(modl, level), lam=20.0)).pose(y, A)
    x = equation.resolvent(equation.data, shift=1.0, tol=1e-14)  # SENSE; that of the pose is a mere start
    for modl.steps in range(4):
        torch.testing.assert_close(modl(y, A, 0.1), x, rtol=0, atol=1e-10 * float(norm(x).max()))
        x = x - equation.resolvent(equation.residual(x), shift=1.0, tol=1e-14)


@kinds
def test_step_is_inexact_by_at_most_a_tenth_of_its_length(kind):
    model = exact(MOL(small_scores(2)[kind], lam=100.0))
    equation, _, context = model.pose(PLANE.kspace(2), PLANE.operator(2))
    x = context.sense
    for _ in range(5):
        T = x - equation.resolvent(equation.residual(x), shift=1.0, tol=1e-14)
        computed = equation.step(x)
        assert (norm(computed - T) <= 0.1 * norm(computed - x)).all()
        x = computed


@settings
@pytest.mark.parametrize("eps", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("lam", [0.3, 30.0])
def test_scaled_identity_gives_tikhonov_sense(setting, eps, lam):
    A, y = setting.operator(2), setting.kspace(2)
    score = LinearScore.identity(eps, int(np.prod(setting.image)))
    model = exact(MOL(score, lam))
    x, lam = model(y, A), float(model.lam)  # its logarithm was stored in single precision
    for i in range(2):
        one = A.select(torch.tensor([i]))
        matrix = dense(one, setting.image)
        system = matrix.mH @ matrix + eps / lam * eye(matrix.shape[1])
        expected = torch.linalg.solve(system, matrix.mH @ y[i].reshape(-1)).reshape(setting.image)
        torch.testing.assert_close(x[i], expected, rtol=0, atol=1e-10 * float(expected.norm()))


@settings
def test_sense_baseline_is_the_dense_solution(setting):
    A, y = setting.operator(), setting.kspace()
    matrix = dense(A, setting.image)
    expected = torch.linalg.solve(matrix.mH @ matrix + eye(matrix.shape[1]) / 50, matrix.mH @ y.reshape(-1))
    error = sense(y, A, weight=50.0).reshape(-1) - expected
    assert error.norm() <= 1.1e-4 * expected.norm()  # |(I + lam N)^-1| <= 1 times its tolerance


@settings
@pytest.mark.parametrize("lam", [0.1, 1.0, 100.0])
def test_full_sampling_and_the_identity_shrink_the_zero_filled_image(setting, lam):
    A = setting.operator(mask=torch.ones(1, *setting.mask))
    if setting.sets > 1:
        A = SENSE(orthonormal_sets(setting), torch.ones(1, *setting.mask), ndim=setting.ndim, sets=setting.sets)
    y = setting.kspace()
    score = LinearScore.identity(1.0, int(np.prod(setting.image)))
    model = exact(MOL(score, lam))
    x, lam = model(y, A), float(model.lam)
    torch.testing.assert_close(x, lam / (1 + lam) * A.adjoint(y), rtol=0, atol=1e-11)


def orthonormal_sets(setting):
    """Maps with ``sum_c conj(s_cs) s_ct = delta_st`` in every pixel, so that ``A^H A = I``."""
    columns = random(1, *setting.maps[1:], setting.coils, setting.sets, seed=5)
    return torch.linalg.qr(columns).Q.movedim((-2, -1), (1, 2))


@kinds
@pytest.mark.parametrize("setting", [PLANE, DYNAMIC], ids=lambda s: s.name)
def test_solution_does_not_depend_on_the_step_size_nor_on_the_start(kind, setting):
    A, y = setting.operator(), setting.kspace()
    equation, _, context = exact(MOL(small_scores(setting.network)[kind], lam=10.0)).pose(y, A)
    solution = solve(equation, context.sense)
    assert norm(equation.residual(solution)) <= 1e-9 * norm(equation.data)
    starts = {
        "zero": torch.zeros_like(solution),
        "zero-filled": context.zero_filled,
        "noise": 10 * random(1, *setting.image, seed=99),
    }
    for x in starts.values():
        assert distance(solve(equation, x), solution) <= 3e-11
    for alpha in (0.05, 0.5, 1.0):

        def step(x, alpha=alpha):
            return equation.step(x, alpha)

        rate = abs(1 - alpha) + alpha * 0.7
        found = fixed_point(step, context.zero_filled, contraction=rate, inexact=0.1, tol=1e-5, max_steps=2000)
        assert found.converged
        assert distance(found.x, solution) <= 1.001e-5


@kinds
@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 1.1])
def test_step_contracts_at_the_rate_of_theory(kind, alpha):
    # |T_a|_Lip <= |1 - a| + a (1 - m), with an exact linear solve
    A, y = PLANE.operator(), PLANE.kspace()
    equation, _, _ = exact(MOL(small_scores(2)[kind], lam=10.0)).pose(y, A)
    matrix = dense(A, PLANE.image)
    inverse = torch.linalg.inv(eye(30) + alpha * equation.lam * matrix.mH @ matrix)

    def T(x):
        z = x - alpha * equation.score(x) + alpha * equation.data
        return (inverse @ z.reshape(-1, 30, 1)).reshape(x.shape)

    rate = abs(1 - alpha) + alpha * 0.7
    for seed in range(10):
        u, v = random(1, 6, 5, seed=seed), random(1, 6, 5, seed=seed + 100)
        for _ in range(6):
            old = norm(u - v)
            u, v = T(u), T(v)
            assert norm(u - v) <= rate * old * (1 + 1e-12) + 1e-15 * norm(u)


def test_contraction_rate_is_attained_where_nothing_was_measured():
    # F = m I: on the null space of A, T(x) = (1 - m) x exactly
    A = SENSE(torch.ones(1, 1, 4, 4, dtype=torch.complex128), eye(4))
    equation, _, _ = exact(MOL(LinearScore.identity(0.3, 16), lam=10.0)).pose(random(1, 1, 4, 4), A)
    null = random(1, 4, 4, seed=5)
    null = null - A.normal(null)
    a, b = equation.step(null), equation.step(torch.zeros_like(null))
    assert abs(norm(a - b) / norm(null) - 0.7) < 0.2  # inexact inner solves allow a tenth of the step
    assert equation.contraction == pytest.approx(0.7)


def test_ridge_adds_to_the_score():
    A, y = PLANE.operator(), PLANE.kspace()
    score = small_scores(2)["PlainCNN"]
    model = exact(MOL(score, lam=5.0, ridge=0.4))
    equation, _, context = model.pose(y, A)
    x = solve(equation, context.sense)
    g = model.lam * (A.normal(x) - A.adjoint(y)) + 1.4 * x - equation.score.H(x)
    assert norm(g) <= 1e-9 * norm(model.lam * A.adjoint(y))
    assert equation.c == pytest.approx(1.4)
    assert equation.m.value == pytest.approx(0.7)


# ---- BART ----------------------------------------------------------------------------------------------------

bart = pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed (Debian package bart)")


def write_cfl(path, array):
    array = np.asarray(array, dtype=np.complex64)
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
    array.ravel(order="F").tofile(path.with_suffix(".cfl"))


def read_cfl(path):
    shape = [int(n) for n in path.with_suffix(".hdr").read_text().split("\n")[1].split()]
    return np.fromfile(path.with_suffix(".cfl"), dtype=np.complex64).reshape(shape, order="F").squeeze()


def run(folder, *arguments):
    subprocess.run(["bart", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


@bart
@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (4, 5, 6), (3, 5, 7)])
def test_fourier_transform_equals_bart(tmp_path, shape):
    x = random(*shape)
    write_cfl(tmp_path / "x", x.numpy())
    run(tmp_path, "fft", "-u", str(2 ** len(shape) - 1), "x", "k")
    np.testing.assert_allclose(read_cfl(tmp_path / "k"), fft(x[None], len(shape))[0].numpy(), atol=1e-5)


BART_PLANE = Setting("2-D", (8, 12), (8, 12), (8, 12), ndim=2, network=2)
BART_VOLUME = Setting("3-D", (4, 8, 4), (4, 8, 4), (4, 8, 4), ndim=3, network=3, coils=2)


@bart
@pytest.mark.parametrize("setting", [BART_PLANE, BART_VOLUME], ids=lambda s: s.name)
def test_scaled_identity_equals_bart_pics_with_l2(tmp_path, setting):
    # sizes divisible by 4: for others BART's pics leaves out a constant phase, for odd ones it is not centred
    A = setting.operator()
    y = A(random(1, *setting.image, seed=4))  # BART reads the mask off the zeros
    lead = (1,) * (3 - setting.ndim)
    write_cfl(tmp_path / "k", np.moveaxis(y[0].numpy(), 0, -1).reshape(*lead, *setting.image, -1))
    write_cfl(tmp_path / "s", np.moveaxis(setting.random_maps()[0].numpy(), 0, -1).reshape(*lead, *setting.image, -1))
    weight = 0.05
    run(tmp_path, "pics", "-l2", "-r", str(weight), "-i", "200", "-w", "1", "k", "s", "x")
    x = exact(MOL(LinearScore.identity(1.0, int(np.prod(setting.image))), lam=1 / weight))(y, A)
    theirs = read_cfl(tmp_path / "x").reshape(setting.image)
    np.testing.assert_allclose(theirs, x[0].numpy(), atol=2e-5 * float(x.abs().max()))


def test_two_networks_that_convolve_different_axes_solve_different_equations():
    A, y = FRAMES.operator(), FRAMES.kspace()
    flat = exact(MOL(small_scores(2)["ResidualStack"], lam=10.0))(y, A)
    deep = exact(MOL(small_scores(3)["ResidualStack"], lam=10.0))(y, A)
    assert distance(flat, deep) > 1e-3
    assert flat.shape == deep.shape == (1, *FRAMES.image)
