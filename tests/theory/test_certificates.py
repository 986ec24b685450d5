"""Every bound of a certificate holds, and is not idle."""

import math
from dataclasses import replace

import pytest
import torch

from problems import DYNAMIC, KINDS, PLANE, STRICT, VOLUME, LinearScore, dense, random, random_mask, small_scores
from resolvent.linop import LinearOperator
from resolvent.mol import MOL
from resolvent.mol.certificate import certify
from resolvent.solve import norm

strict = pytest.mark.parametrize("kind", STRICT)
lams = pytest.mark.parametrize("lam", [1.0, 30.0, 1000.0])


@pytest.fixture(autouse=True)
def values_only():
    with torch.no_grad():
        yield


def exact(model):
    model.double()
    model.linear_tol = 1e-14
    return model


def solved(equation, x0):
    solution = equation.solve(x0, tol=1e-11, max_steps=5000)
    assert solution.converged
    return solution.x


def matrix_of(score, size):
    return dense(lambda e: score(e), (size,))


def iterates(kind, lam, setting, ridge=0.0, m=0.3):
    """Points on the way to a solution, from several starts and by several methods; and the solution."""
    A, y = setting.operator(), setting.kspace()
    model = exact(MOL(small_scores(setting.network, m)[kind], lam, ridge=ridge))
    equation, _, context = model.pose(y, A)
    solution = solved(equation, context.sense)
    points = []
    for seed, anderson, stops in ((0, 0, (0, 1, 4, 12)), (1, 5, (0, 2, 3, 8))):
        start = context.sense + random(1, *setting.image, seed=seed) * (3 if seed else 0.1)
        points += [equation.solve(start, tol=1e-12, max_steps=k, anderson=anderson).x for k in stops]
    points += [solution + 10.0**-k * random(1, *setting.image, seed=k) for k in (0, 2, 4, 6)]
    return equation, model.tier, points, solution


CASES = [(PLANE, 1.0), (PLANE, 30.0), (PLANE, 1000.0), (VOLUME, 100.0)]


@pytest.mark.parametrize(("setting", "lam"), CASES, ids=[f"{s.name}-{lam:g}" for s, lam in CASES])
@pytest.mark.parametrize("kind", KINDS)
def test_error_bound_is_at_least_the_error_at_every_iterate(kind, setting, lam):
    ridge = 0.2 if kind == "PlainCNN" else 0.0  # this one contracts too, though it does not claim to prove it
    equation, tier, points, solution = iterates(kind, lam, setting, ridge)
    for x in points:
        certificate = certify(equation, x, tier)
        error = float(norm(x - solution) / norm(x))
        assert certificate.distance >= error - 1e-10
        assert certificate.proved == (kind != "PlainCNN")


def test_error_bound_is_not_idle():
    ratios = []
    for kind, lam in (("ResidualStack", 1.0), ("ConditionedStack", 30.0), ("ProductNetwork", 1000.0)):
        equation, tier, points, solution = iterates(kind, lam, PLANE)
        for x in points:
            error = float(norm(x - solution) / norm(x))
            if error > 1e-8:
                ratios.append(certify(equation, x, tier).distance / error)
    median = float(torch.tensor(ratios).median())
    print("median ratio", median, "of", len(ratios))
    assert min(ratios) >= 1
    assert median < 15


@strict
@pytest.mark.parametrize("lam", [1.0, 300.0])
@pytest.mark.parametrize("normalise", [False, True])
def test_solve_stops_within_its_tolerance_and_says_so(kind, lam, normalise):
    A, y = PLANE.operator(2), PLANE.kspace(2)
    model = exact(MOL(small_scores(2)[kind], lam, normalise=normalise))
    equation, scale, context = model.pose(y, A, 0.02)
    solution = scale.reshape(-1, 1, 1) * solved(equation, context.sense)
    for tol in (0.3, 0.03, 1e-3, 1e-6):
        recon = model.solve(y, A, tol=tol, max_steps=1000, noise=0.02)
        error = norm(recon.image - solution) / norm(recon.image)
        assert recon.solution.converged
        assert (error <= tol).all()
        assert (error <= recon.certificate.distances).all()
        assert recon.certificate.distance == recon.certificate.distances.max()


@pytest.mark.parametrize(("c", "m"), [(0.02, 0.015), (0.5, 0.2), (2.0, 0.5)])
@pytest.mark.parametrize("lam", [0.5, 300.0])
def test_bounds_hold_for_scores_around_another_multiple_of_the_identity(c, m, lam):
    h = random(30, 30, seed=3)
    F = c * torch.eye(30, dtype=torch.float64) + (c - m) * h / torch.linalg.matrix_norm(h, 2)
    model = exact(MOL(LinearScore(torch.eye(30, dtype=torch.float64) - F, c=c, m=m), lam))
    A, y = PLANE.operator(), PLANE.kspace()
    matrix = dense(A, (6, 5))
    system = float(model.lam) * matrix.mH @ matrix + F
    solution = torch.linalg.solve(system, float(model.lam) * matrix.mH @ y.reshape(-1)).reshape(1, 6, 5)
    for tol in torch.logspace(-0.3, -5, 20).tolist():
        recon = model.solve(y, A, tol=tol, max_steps=2000)
        error = norm(recon.image - solution) / norm(recon.image)
        assert recon.solution.converged
        assert error <= tol
        assert error <= recon.certificate.distance


@lams
@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_energy_bound_with_an_inexact_linear_solve_is_near_the_exact_one(lam, ridge):
    equation, tier, points, _ = iterates("ResidualStack", lam, PLANE, ridge)
    normal = dense(equation.A.normal, (6, 5))
    m, c = equation.m.value, equation.c
    eye = torch.eye(30, dtype=torch.float64)
    for x in points:
        g = equation.residual(x).reshape(-1)
        energy = (g.conj() @ torch.linalg.solve(m * eye + lam * normal, g)).real.sqrt() / math.sqrt(m)
        step = torch.linalg.solve(c * eye + lam * normal, g).norm() / (1 - equation.contraction)
        best = min(float(energy), float(step)) / float(norm(x))
        # not below: both are proved for exact solves, and inexact ones only add; the energy by at most
        # 2 |<p,e>| + |e|^2 / m with |e| <= 0.3 m |p|, the step by a tenth of itself on either side
        assert best * 0.9 <= certify(equation, x, tier).distance <= best * 1.4 + 1e-11
        assert float(energy) <= float(g.norm()) / m * (1 + 1e-9)  # never worse than the plain bound


def test_energy_bound_is_used_where_it_is_the_sharper_one():
    # N = I: |G| / sqrt(m (m + lam)) against |G| / (m (1 + lam)), less than half of it here
    m, lam = 0.02, 0.1
    A = PLANE.operator(mask=torch.ones(1, 6, 5))
    model = exact(MOL(small_scores(2, m)["ResidualStack"], lam))
    equation, _, context = model.pose(PLANE.kspace(), A)
    x = context.sense
    energy = float(norm(equation.residual(x)) / norm(x)) / math.sqrt(m * (m + float(model.lam)))
    assert certify(equation, x, model.tier).distance == pytest.approx(energy, rel=0.02)


@lams
def test_certificate_is_far_sharper_than_the_residual_over_m(lam):
    equation, tier, points, _ = iterates("ResidualStack", lam, PLANE)
    plain = [float(norm(equation.residual(x)) / norm(x)) / equation.m.value for x in points]
    pairs = [(x, p) for x, p in zip(points, plain, strict=True) if p > 1e-10]
    ratio = torch.tensor([certify(equation, x, tier).distance / p for x, p in pairs])
    assert (ratio <= 1.4).all()
    assert lam < 100 or ratio.median() < 0.5


def random_linear(size, m, seed, kind):
    """A linear H of norm ``1 - m``: dense, skew, or one that eats all monotonicity in some directions."""
    h = random(size, size, seed=seed)
    if kind == "skew":
        h = h - h.mH
    if kind == "projector":
        q = torch.linalg.qr(h).Q[:, : size // 2]
        h = q @ q.mH
    return (1 - m) * h / torch.linalg.matrix_norm(h, 2)


@pytest.mark.parametrize("kind", ["dense", "skew", "projector"])
@pytest.mark.parametrize("lam", [0.1, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("m", [0.02, 0.5])
def test_gain_bound_is_at_least_the_gain_of_the_dense_solution_map(kind, lam, m):
    for seed, setting in enumerate((PLANE, DYNAMIC)):
        A, y = setting.operator(), setting.kspace()
        size = math.prod(setting.image)
        model = exact(MOL(LinearScore(random_linear(size, m, seed, kind)), lam))
        equation, _, context = model.pose(y, A)
        certificate = certify(equation, context.sense, "all-data")
        matrix = dense(A, setting.image)
        F = torch.eye(size, dtype=torch.float64) - model.score.matrix
        solution_map = torch.linalg.solve(lam * matrix.mH @ matrix + F, lam * matrix.mH)
        gain = float(torch.linalg.matrix_norm(solution_map, 2))
        assert certificate.data_gain >= gain * (1 - 1e-6)
        assert certificate.data_gain_kind == "proved"


class Scalar(LinearOperator):
    """``A x = a x`` into one coil."""

    def __init__(self, a):
        super().__init__()
        self.register_buffer("a", torch.tensor([a], dtype=torch.float64))

    def forward(self, x):
        return self.a * x.unsqueeze(1)

    def adjoint(self, y):
        return self.a * y[:, 0]

    @property
    def norm_bound(self):
        return self.a.abs()


@pytest.mark.parametrize("m", [0.02, 0.3])
@pytest.mark.parametrize("lam", [1.0, 500.0])
def test_gain_bound_is_attained(lam, m):
    A = Scalar(math.sqrt(m / lam))
    model = exact(MOL(LinearScore.identity(m, 4), lam))
    y, d = random(1, 1, 2, 2), random(1, 1, 2, 2, seed=1)
    x = model.solve(y, A, tol=1e-9, max_steps=5000)
    moved = model.solve(y + d, A, tol=1e-9, max_steps=5000)
    gain = float(norm(moved.image - x.image) / norm(d))
    assert gain <= x.certificate.data_gain * (1 + 1e-6)
    assert gain >= x.certificate.data_gain * (1 - 1e-5)


def test_gain_bound_uses_the_norm_of_a_where_that_is_smaller():
    lam, m, a = 10.0, 0.5, 0.01
    model = exact(MOL(LinearScore.identity(m, 4), lam))
    certificate = model.solve(random(1, 1, 2, 2), Scalar(a)).certificate
    assert certificate.data_gain == pytest.approx(lam * a / m, rel=1e-5)
    true = lam * a / (lam * a * a + m)
    assert true <= certificate.data_gain <= 1.01 * true


@strict
@pytest.mark.parametrize("lam", [3.0, 300.0])
def test_jacobian_of_a_network_stays_below_the_gain_bound(kind, lam):
    A, y = PLANE.operator(), PLANE.kspace()
    model = exact(MOL(small_scores(2, m=0.05)[kind], lam))
    equation, _, context = model.pose(y, A)
    x = solved(equation, context.sense)
    certificate = certify(equation, x, model.tier)
    # d x* / d b with the conditioning held, by solving the linearised equation densely
    real = torch.view_as_real

    def G(v):
        return real(equation.residual(torch.view_as_complex(v.reshape(1, 6, 5, 2)))).reshape(-1)

    with torch.enable_grad():
        jacobian = torch.autograd.functional.jacobian(G, real(x).reshape(-1))
        data = torch.autograd.functional.jacobian(
            lambda b: real(lam * A.adjoint(torch.view_as_complex(b.reshape(*y.shape, 2)))).reshape(-1),
            real(y).reshape(-1),
        )
    gain = float(torch.linalg.matrix_norm(torch.linalg.solve(jacobian, data), 2))
    assert gain <= certificate.data_gain * (1 + 1e-6)
    assert certificate.data_gain_kind == (
        "conditioning held" if kind in ("ConditionedStack", "ConditionedRidge") else "proved"
    )
    # the same Jacobian is as monotone as claimed
    symmetric = 0.5 * (jacobian + jacobian.T)
    assert torch.linalg.eigvalsh(symmetric)[0] >= 0.05 - 1e-9


@strict
def test_networks_that_differ_by_e_have_solutions_that_differ_by_e_over_m(kind):
    A, y = PLANE.operator(), PLANE.kspace()
    model = exact(MOL(small_scores(2)[kind], 20.0))
    equation, _, context = model.pose(y, A)
    x = solved(equation, context.sense)
    for factor in (0.5, 0.99):  # kernels of norm at most 1 remain so: both networks are monotone
        other = replace(
            equation, score=replace(equation.score, shared=tuple(factor * t for t in equation.score.shared))
        )
        moved = solved(other, x)
        e = norm(other.score(moved) - equation.score(moved))
        certificate = certify(equation, x, model.tier)
        assert 0 < norm(moved - x) <= certificate.network_gain * e * (1 + 1e-6)


@pytest.mark.parametrize(
    ("kind", "options", "tier", "gain"),
    [
        ("ResidualStack", {}, "all-data", "proved"),
        ("ResidualStack", {"ridge": 0.1}, "all-data", "proved"),
        ("ResidualStack", {"normalise": True}, "per-scan", "conditioning held"),
        ("ProductNetwork", {"normalise": True}, "per-scan", "conditioning held"),
        ("ConditionedStack", {}, "per-scan", "conditioning held"),
        ("PlainCNN", {}, "estimated", "estimated"),
        ("PlainCNN", {"normalise": True}, "estimated", "estimated"),
    ],
)
def test_words_of_a_certificate_follow_from_the_construction(kind, options, tier, gain):
    model = exact(MOL(small_scores(2)[kind], 5.0, **options))
    certificate = model.solve(PLANE.kspace(), PLANE.operator(), noise=0.1).certificate
    assert (certificate.tier, certificate.data_gain_kind) == (tier, gain)
    assert certificate.proved == (tier != "estimated")
    assert certificate.kind == ("proved" if certificate.proved else "estimated")
    assert f"({certificate.kind})" in certificate.text
    assert f"({gain})" in certificate.text
    assert certificate.m == pytest.approx(0.3 + options.get("ridge", 0))
    assert certificate.network_gain == pytest.approx(1 / certificate.m)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nothing_is_certified_of_an_image_that_is_not_finite(bad):
    model = exact(MOL(small_scores(2)["ResidualStack"], 5.0))
    equation, _, context = model.pose(PLANE.kspace(2), PLANE.operator(2))
    x = context.sense.clone()
    x[1, 2, 2] = bad
    certificate = certify(equation, x, model.tier)
    assert certificate.distance == math.inf
    assert not certificate.proved
    assert "no certificate" in certificate.text
    assert math.isfinite(certificate.distances[0])


@pytest.mark.parametrize("size", [1e-30, 1e-38, 1e-41, 1e-44])
def test_what_an_image_loses_below_the_range_of_its_precision_is_in_the_distance(size):
    score = LinearScore.identity(0.5, 30)
    equation, _, context = exact(MOL(score, 5.0)).pose(PLANE.kspace(), PLANE.operator())
    x = solved(equation, context.sense).to(torch.complex64)
    scale = torch.tensor([size])
    image = (scale * x).to(torch.complex128)  # as it is returned
    lost = (image - scale.double() * x.to(torch.complex128)).norm() / image.norm()
    distance = certify(equation, x, "all-data", scale=scale).distance
    assert lost <= distance <= 1.01 * float(lost) + 1e-5


@pytest.mark.parametrize("broken", ["m", "lam", "image"])
def test_nothing_is_proved_of_an_equation_that_is_none(broken):
    model = exact(MOL(small_scores(2)["ResidualStack"], 5.0))
    if broken == "m":
        model.ridge = -0.5
    if broken == "lam":
        model.log_lam.data.fill_(torch.nan)
    equation, _, context = model.pose(PLANE.kspace(), PLANE.operator())
    x = torch.full_like(context.sense, torch.nan) if broken == "image" else context.sense
    certificate = certify(equation, x, "all-data")
    assert certificate.distance == math.inf and not certificate.proved
    assert certificate.data_gain_kind == "estimated" and certificate.data_gain > 0


def test_zero_image_is_certified_only_as_the_solution():
    score = LinearScore.identity(0.5, 30)
    equation, _, _ = exact(MOL(score, 5.0)).pose(PLANE.kspace(), PLANE.operator(mask=random_mask(1, 6, 5)))
    zero = torch.zeros(1, 6, 5, dtype=torch.complex128)
    assert certify(equation, zero, "all-data").distance == math.inf
    nothing = replace(equation, y=torch.zeros_like(equation.y))
    assert certify(nothing, zero, "all-data").distance == 0


def test_no_distance_below_the_rounding_of_double_precision_is_claimed():
    score = LinearScore.identity(0.5, 30)
    equation, _, context = exact(MOL(score, 5.0)).pose(PLANE.kspace(), PLANE.operator())
    x = solved(equation, context.sense)
    for _ in range(60):
        x = x - equation.resolvent(equation.residual(x), shift=1.0, tol=1e-14)
    assert 1e-12 <= certify(equation, x, "all-data").distance < 1e-11


def test_single_precision_solutions_are_certified_against_the_equation_in_double():
    score = small_scores(2)["ResidualStack"].float()
    model = MOL(score, 50.0)
    A = PLANE.operator(maps=PLANE.random_maps().to(torch.complex64), mask=random_mask(1, 6, 5).float())
    y = PLANE.kspace().to(torch.complex64)
    recon = model.solve(y, A, tol=1e-5, max_steps=300)
    equation, _, context = model.pose(y, A)
    solution = solved(equation.to_double(), context.sense.to(torch.complex128))
    error = float(norm(recon.image.to(torch.complex128) - solution) / norm(recon.image))
    assert 0 < error <= recon.certificate.distance <= 1e-3
