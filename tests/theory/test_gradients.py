"""The implicit gradient is the gradient of the unrolled algorithm, and of finite differences."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch.func import functional_call

from problems import DYNAMIC, KINDS, PLANE, VOLUME, LinearScore, dense, random, random_mask, small_scores
from resolvent.mol import MOL
from resolvent.mol.baselines import MoDL
from resolvent.mol.equation import Work
from resolvent.mol.evidence import unseen
from resolvent.mol.units import NOISE_FLOOR, UNSEEN_FLOOR, UNSEEN_TYPICAL
from resolvent.monotone import ScanContext

SETTINGS = [PLANE, VOLUME, DYNAMIC]
NOISE = 0.05
CASES = [(kind, setting, True) for kind in KINDS for setting in SETTINGS] + [(kind, PLANE, False) for kind in KINDS]
every_case = pytest.mark.parametrize(
    ("kind", "setting", "adaptive"), CASES, ids=[f"{k}-{s.name}{'-adaptive' * a}" for k, s, a in CASES]
)


def problem(kind, setting, adaptive):
    """A model at the limit of double precision, and theta: weights, lam, k-space and maps."""
    lam = 2000.0 if adaptive else 8.0  # of random samples, which contradict each other, the first leaves as much
    model = MOL(small_scores(setting.network)[kind], lam=lam, ridge=0.05, normalise=adaptive)
    model.double()
    model.tol = model.adjoint_tol = 1e-11
    model.linear_tol, model.max_steps = 1e-13, 3000
    theta = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    theta["kspace"] = setting.kspace().requires_grad_()
    theta["maps"] = setting.random_maps().requires_grad_()
    return model, theta


def loss(x):
    weights = torch.linspace(-1, 1, x.numel(), dtype=torch.float64).reshape(x.shape)
    return (weights * x.real - weights.flip(1) * x.imag + 0.3 * x.abs().square()).sum()


def implicit(model, setting, theta):
    A = setting.operator(maps=theta["maps"], mask=random_mask(1, *setting.mask))
    weights = {name: t for name, t in theta.items() if name not in ("kspace", "maps")}
    return loss(functional_call(model, weights, (theta["kspace"], A), {"noise": NOISE}))


def unrolled(model, setting, theta, steps=70):
    """The same, with dense linear algebra in place of CG and every iteration recorded by autograd.

    The iterations before are not recorded: unrolled gradients converge with the iterations, from any start.
    """
    A = setting.operator(maps=theta["maps"], mask=random_mask(1, *setting.mask))
    size = torch.Size(setting.image).numel()
    basis = torch.eye(size, dtype=torch.complex128).reshape(size, *setting.image)
    eye = torch.eye(size, dtype=torch.complex128)

    def normal(worth):
        return A.adjoint(worth**2 * A(basis)).reshape(size, size).T

    def resolvent(lam, shift, z, normal):
        return torch.linalg.solve(shift * eye + lam * normal, z.reshape(-1)).reshape(z.shape)

    def lam_of(scale):
        """That of each sample: of four rings of as many of them the level of each."""
        missing = (unseen(A, zero_filled, setting.network)[0] + UNSEEN_FLOOR) / (UNSEEN_TYPICAL + UNSEEN_FLOOR)
        white = torch.randn(y.shape[1:], dtype=y.dtype, generator=torch.Generator().manual_seed(0))[None]
        power, expected = (
            A.measured(A(resolvent(torch.tensor(1000.0).double(), 1.0, 1000 * A.adjoint(t), normal(1.0))) - t)
            .abs()
            .square()
            for t in (y, white)
        )
        radius, there = A.frequency.expand(y.shape), A.measured(y) != 0
        lam = torch.full(y.shape, 1e-6, dtype=torch.float64)  # where no sample is
        ordered = radius[there].sort().values.tolist()
        quartiles = (ordered[math.ceil(len(ordered) * part / 4) - 1] for part in (1, 2, 3))
        rings = [(radius > low) & (radius <= high) for low, high in itertools.pairwise((-1.0, *quartiles, math.inf))]
        rings = [ring for ring in rings if (ring & there).any()]
        noise = torch.stack([power[ring & there].mean() / expected[ring & there].mean() for ring in rings])
        share = torch.stack([(ring & there).sum() for ring in rings]).double() / there.sum()
        for ring, misfit in zip(rings, power[there].mean() * noise / (share * noise).sum(), strict=True):
            level = (NOISE**2 + misfit).sqrt() / scale
            log_lam = theta["log_lam"] + theta["noise_slope"] * torch.log(1 + level / NOISE_FLOOR)
            lam = torch.where(ring, (log_lam + theta["unseen_slope"] * missing.log()).exp(), lam)
        return lam

    def intensity(x):
        return (x.abs().pow(4).sum() / x.abs().pow(2).sum()).sqrt()

    y = theta["kspace"]
    zero_filled = back = A.adjoint(y)
    scale, lam, N = torch.ones((), dtype=torch.float64), theta["log_lam"].exp(), normal(1.0)
    if model.normalise:
        every = lam_of(intensity(zero_filled))
        lam, worth = every.max(), (every / every.max()).sqrt()
        N, back = normal(worth), A.adjoint(worth**2 * y)
    sense = resolvent(lam, 1.0, lam * back, N)
    if model.normalise:
        scale = intensity(sense)
        lam = lam_of(scale).max()
    level = NOISE / scale
    sense, zero_filled, back = sense / scale, zero_filled / scale, back / scale
    context = ScanContext(sense, zero_filled, level.reshape(1), lambda u: resolvent(lam, 1.0, u + lam * back, N))
    prefix = "score."
    weights = {name.removeprefix(prefix): t for name, t in theta.items() if name.startswith(prefix)}
    score = functional_call(Conditioner(model.score), {f"score.{k}": v for k, v in weights.items()}, (context,))

    def step(x):
        return resolvent(lam, 1.05, score.H(x) + lam * back, N)

    x = sense
    with torch.no_grad():
        for _ in range(120):
            x = step(x)
    for _ in range(steps):
        x = step(x)
    return loss(scale * x)


class Conditioner(torch.nn.Module):
    """The network's `condition` as a forward pass, so that weights can be passed to it."""

    def __init__(self, score):
        super().__init__()
        self.score = score

    def forward(self, context):
        return self.score.condition(context)


def relative(a, b):
    return float((a - b).abs().square().sum().sqrt() / b.abs().square().sum().sqrt())


@every_case
def test_implicit_gradient_is_the_unrolled_gradient(kind, setting, adaptive):
    model, theta = problem(kind, setting, adaptive)
    ours, theirs = implicit(model, setting, theta), unrolled(model, setting, theta)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    ours = torch.autograd.grad(ours, list(theta.values()))
    theirs = torch.autograd.grad(theirs, list(theta.values()))
    errors = {name: relative(a, b) for name, a, b in zip(theta, ours, theirs, strict=True)}
    worst = max(errors.values())
    print("worst", worst)
    assert all(torch.linalg.vector_norm(g) > 1e-6 for g in theirs), "a gradient that vanishes checks nothing"
    assert worst <= 1e-6, errors


@every_case
def test_implicit_gradient_is_that_of_finite_differences(kind, setting, adaptive):
    model, theta = problem(kind, setting, adaptive)
    groups = {
        "weights": [name for name in theta if name.startswith("score.")],
        "lam": ["log_lam"],
        "kspace": ["kspace"],
        "maps": ["maps"],
    }
    if adaptive:
        groups |= {name: [name] for name in ("noise_slope", "unseen_slope")}
    grads = dict(zip(theta, torch.autograd.grad(implicit(model, setting, theta), list(theta.values())), strict=True))
    generator = torch.Generator().manual_seed(5)
    errors = {}
    for group, names in groups.items():
        direction = {n: torch.randn(theta[n].shape, dtype=theta[n].dtype, generator=generator) for n in names}
        slope = sum(float((grads[n].conj() * direction[n]).real.sum()) for n in names)
        best = torch.inf
        for h in (1e-5, 1e-6, 1e-7):  # a kink of relu between the two points spoils a difference, not all
            if best < 1e-6:
                break
            with torch.no_grad():
                above, below = (
                    implicit(model, setting, {n: t + s * h * direction.get(n, 0) for n, t in theta.items()})
                    for s in (1, -1)
                )
            numeric = float(above - below) / (2 * h)
            best = min(best, abs(slope - numeric) / abs(numeric))
        errors[group] = best
    print("worst", max(errors.values()))
    assert max(errors.values()) <= 1e-4, errors


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_gradient_is_as_accurate_for_a_small_loss(scale):
    model, theta = problem("ResidualStack", PLANE, True)
    model.tol = model.adjoint_tol = model.linear_tol = 1e-4
    one = torch.autograd.grad(implicit(model, PLANE, theta), list(theta.values()))
    other = torch.autograd.grad(scale * implicit(model, PLANE, theta), list(theta.values()))
    for a, b in zip(one, other, strict=True):
        assert relative(b / scale, a) < 1e-9


def test_error_of_the_gradient_follows_the_adjoint_tolerance():
    model, theta = problem("ResidualStack", PLANE, True)
    exact = torch.autograd.grad(implicit(model, PLANE, theta), theta["kspace"])[0]
    for tol in (1e-1, 1e-3, 1e-6):
        model.adjoint_tol = tol
        assert relative(torch.autograd.grad(implicit(model, PLANE, theta), theta["kspace"])[0], exact) <= 10 * tol


@pytest.mark.parametrize("kind", ["ResidualStack", "ConvexRidge", "CertifiedStack"])
@pytest.mark.parametrize("m", [0.05, 0.3])
def test_bound_of_the_adjoint_error_is_at_least_the_error(kind, m):
    # w = (lam N + J_F)^-H v is what data carry: for the loss <v, x*>, the gradient for the term lam A^H b is w
    model = MOL(small_scores(2, m)[kind], lam=8.0).double()
    model.tol, model.linear_tol, model.max_steps = 1e-12, 1e-13, 3000
    A, v = PLANE.operator(2), random(2, 6, 5, seed=8)
    with torch.no_grad():
        equation, _, context = model.pose(PLANE.kspace(2), A)
    x = equation.solve(context.sense, tol=1e-12, max_steps=3000).x

    def real(x):
        return torch.view_as_real(x).flatten(1)

    exact = []
    for i in range(2):
        one = equation.select(torch.tensor([i]))
        jacobian = torch.autograd.functional.jacobian(
            lambda t, one=one: real(one.residual(torch.view_as_complex(t.reshape(1, 6, 5, 2)))).reshape(-1),
            real(x[i : i + 1].detach()).reshape(-1),
        )
        exact.append(torch.linalg.solve(jacobian.T, real(v)[i]))
    exact = torch.stack(exact)
    bounds = []
    for tol, limit in ((1e-1, 500), (1e-2, 500), (1e-4, 500), (1e-7, 500), (1e-9, 1), (1e-9, 4)):
        work = Work()
        push = torch.zeros_like(x, requires_grad=True)  # moves F as lam A^H b would
        score = replace(
            equation.score,
            network=lambda x, shared, own: equation.score.network(x, shared, own[:-1]) + own[-1],
            own=(*equation.score.own, push),
        )
        moved = replace(equation, lam=equation.lam.detach(), score=score, work=work)
        attached = moved.attach(x, tol=tol, max_steps=limit)
        assert work.adjoint_error is None
        (w,) = torch.autograd.grad((v.conj() * attached).real.sum(), push)
        error = float(((real(w) - exact).norm(dim=1) / real(w).norm(dim=1)).max())
        assert work.adjoint_error >= error - 1e-11
        assert limit < 500 or work.adjoint_error <= tol
        assert work.adjoint_evaluations >= 1
        bounds.append(work.adjoint_error)
    assert bounds[:4] == sorted(bounds[:4], reverse=True)


def test_gradient_of_modl_is_that_of_finite_differences():
    torch.manual_seed(0)
    model = MoDL(channels=4, depth=3, steps=3, lam=8.0, normalise=True).double()
    model.linear_tol = 1e-13
    names = [n for n, _ in model.named_parameters()]
    theta = [p.detach().clone().requires_grad_() for _, p in model.named_parameters()]
    theta += [PLANE.kspace().requires_grad_(), PLANE.random_maps().requires_grad_()]

    def value(*theta):
        A = PLANE.operator(maps=theta[-1], mask=random_mask(1, *PLANE.mask))
        return loss(functional_call(model, dict(zip(names, theta, strict=False)), (theta[-2], A, 0.1)))

    grads = torch.autograd.grad(value(*theta), theta)
    for i, (t, grad) in enumerate(zip(theta, grads, strict=True)):
        direction = random(t.numel(), seed=i, dtype=t.dtype).reshape(t.shape)
        slope = float((grad.conj() * direction).real.sum())
        with torch.no_grad():
            numeric = [
                float(
                    value(*theta[:i], t + h * direction, *theta[i + 1 :])
                    - value(*theta[:i], t - h * direction, *theta[i + 1 :])
                )
                / (2 * h)
                for h in (1e-5, 1e-7)  # a kink between the two points spoils a difference, not both
            ]
        assert min(abs(slope - n) for n in numeric) <= 1e-4 * abs(slope) + 1e-8, (
            [*names, "kspace", "maps"][i],
            slope,
            numeric,
        )


def test_gradients_of_a_batch_are_those_of_its_samples():
    model, _ = problem("ConditionedStack", PLANE, True)
    y, maps = PLANE.kspace(2).requires_grad_(), PLANE.random_maps(2).requires_grad_()
    mask = random_mask(2, 6, 5)
    x = model(y, PLANE.operator(maps=maps, mask=mask), NOISE)
    both = torch.autograd.grad(loss(x[:1]) + 2 * loss(x[1:]), (y, maps, model.log_lam))
    single = []
    for i in range(2):
        x = model(y[i : i + 1], PLANE.operator(maps=maps[i : i + 1], mask=mask[i : i + 1]), NOISE)
        single.append(torch.autograd.grad((1 + i) * loss(x), (y, maps, model.log_lam)))
    for joint, first, second in zip(both, *single, strict=True):
        torch.testing.assert_close(first + second, joint, rtol=1e-8, atol=1e-10)


def test_linear_score_has_the_gradient_of_the_linear_solve():
    # x* = (m I + lam N)^-1 lam A^H b: d<v, x*>/db = lam A (m I + lam N)^-1 v
    model = MOL(LinearScore.identity(0.5, 30), lam=3.0).double()
    model.tol = model.adjoint_tol = 1e-12
    model.max_steps = 1000
    lam = model.lam.item()
    A, y, v = PLANE.operator(), PLANE.kspace().requires_grad_(), random(1, 6, 5, seed=8)
    (grad,) = torch.autograd.grad((v.conj() * model(y, A)).real.sum(), y)
    matrix = dense(A, (6, 5))
    inner = torch.linalg.solve(0.5 * torch.eye(30, dtype=torch.float64) + lam * matrix.mH @ matrix, v.reshape(-1))
    torch.testing.assert_close(grad.reshape(-1), lam * matrix @ inner, rtol=0, atol=1e-10)
