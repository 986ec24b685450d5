import math

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from problems import random
from resolvent._errors import DataError
from resolvent.solve import Status, fixed_point, norm
from resolvent.solve.anderson import AndersonHistory


def contraction(q, size=20, batch=1, seed=0, dtype=torch.complex128):
    """An affine map of Lipschitz constant q, not normal, and its fixed point."""
    matrix = random(batch, size, size, seed=seed, dtype=dtype)
    matrix = q * matrix / torch.linalg.matrix_norm(matrix, 2, keepdim=True)
    b = random(batch, size, seed=seed + 1, dtype=dtype)
    solution = torch.linalg.solve(torch.eye(size, dtype=dtype) - matrix, b)
    return lambda x: (matrix @ x.unsqueeze(-1)).squeeze(-1) + b, solution, b


@settings(max_examples=30, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(
    q=st.floats(0.1, 0.97),
    seed=st.integers(0, 1000),
    tol=st.sampled_from([1e-1, 1e-3, 1e-8]),
    anderson=st.sampled_from([0, 1, 5]),
    dtype=st.sampled_from([torch.complex128, torch.float64]),
)
def test_tolerance_bounds_the_distance_to_the_solution(q, seed, tol, anderson, dtype):
    step, solution, b = contraction(q, seed=seed, dtype=dtype)
    s = fixed_point(step, torch.zeros_like(b), contraction=q, tol=tol, max_steps=2000, anderson=anderson)
    assert s.converged
    assert norm(s.x - solution) <= tol * norm(s.x) * (1 + 1e-6)


@pytest.mark.parametrize("inexact", [0.01, 0.1])
def test_tolerance_bounds_the_distance_also_of_an_inexact_step(inexact):
    q = 0.6
    step, solution, b = contraction(q)
    generator = torch.Generator().manual_seed(0)

    def sloppy(x):
        exact = step(x)
        error = torch.randn(exact.shape, dtype=exact.dtype, generator=generator)
        # the error is measured against the step as computed, at least (1 - d) times the exact one
        return exact + inexact * (1 - inexact) * norm(exact - x)[:, None] * error / norm(error)[:, None]

    for tol in (1e-1, 1e-2, 1e-4):
        s = fixed_point(sloppy, torch.zeros_like(b), contraction=q, inexact=inexact, tol=tol, max_steps=500)
        assert s.converged
        assert norm(s.x - solution) <= tol * norm(s.x)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("inexact", [0.1, 0.3])
def test_bound_of_an_inexact_step_is_attained_and_not_exceeded(q, inexact):
    # T(x) = q x + b, computed short: the error of the computed step is inexact times its length, in the worst direction
    b = torch.ones(1, 1, dtype=torch.float64)

    def short(x):
        return x + (q * x + b - x) / (1 + inexact)

    ratios = []
    for tol in torch.logspace(-1, -6, 60, dtype=torch.float64).tolist():
        s = fixed_point(short, 0 * b, contraction=q, inexact=inexact, tol=tol, max_steps=1000, anderson=0)
        assert s.converged
        ratios.append(float(norm(s.x - b / (1 - q)) / norm(s.x)) / tol)
    assert 0.8 < max(ratios) <= 1 + 1e-9


def test_picard_is_the_plain_iteration():
    step, _, b = contraction(0.8)
    x = torch.zeros_like(b)
    for _ in range(7):
        x = step(x)
    s = fixed_point(step, torch.zeros_like(b), contraction=0.8, tol=1e-30, max_steps=7, anderson=0)
    assert s.x.equal(x)
    assert s.steps == s.evaluations == len(s.residuals) == 7


def test_picard_and_anderson_agree_and_anderson_is_faster():
    step, solution, b = contraction(0.95)
    slow = fixed_point(step, torch.zeros_like(b), contraction=0.95, tol=1e-9, max_steps=2000, anderson=0)
    fast = fixed_point(step, torch.zeros_like(b), contraction=0.95, tol=1e-9, max_steps=2000)
    torch.testing.assert_close(fast.x, slow.x, rtol=0, atol=3e-9 * float(norm(solution)))
    assert fast.steps < slow.steps


def test_anderson_mixes_with_the_complex_inner_product():
    # T(x) = i q x: without the conjugate the residuals' Gram matrix would be wrong, and the mixing useless
    b = random(1, 1)
    s = fixed_point(lambda x: 0.9j * x + b, torch.zeros_like(b), contraction=0.9, tol=1e-12, max_steps=60, anderson=2)
    assert s.converged
    assert s.steps <= 6  # two real dimensions: exact after three points
    torch.testing.assert_close(s.x, b / (1 - 0.9j), rtol=1e-11, atol=0)


def test_anderson_solves_maps_that_are_not_complex_linear():
    b = random(1, 4)
    s = fixed_point(lambda x: 0.9 * x.conj() + b, torch.zeros_like(b), contraction=0.9, tol=1e-10, max_steps=500)
    solution = b.real / 0.1 + 1j * b.imag / 1.9
    torch.testing.assert_close(s.x, solution, rtol=1e-9, atol=1e-9)


def trap(x):
    """``x - g(x - 5)`` with g of slope 1.9 near its root and 0.1 elsewhere: a contraction by 0.9, and secants cycle."""
    d = x - 5
    near = d.clamp(-1, 1)
    return x - (1.9 * near + 0.1 * (d - near))


def plain_anderson(step, x, steps):
    """Depth one, without a safeguard: the secant method."""
    old = r_old = None
    for _ in range(steps):
        r = step(x) - x
        new = x + r if old is None or bool(r == r_old) else x - r * (x - old) / (r - r_old)
        old, r_old, x = x, r, new
    return x


def test_safeguard_keeps_the_guarantee_where_plain_anderson_cycles():
    x0 = 20 * random(20, 1, dtype=torch.float64)
    lost = [not bool((plain_anderson(trap, x, 200) - 5).abs() < 1e-3) for x in x0]
    assert sum(lost) >= 5, "the example has lost its point"
    for depth in (1, 2, 5):
        s = fixed_point(trap, x0, contraction=0.9, tol=1e-8, max_steps=100, anderson=depth)
        assert s.converged
        assert ((s.x - 5).abs() <= 5e-8).all()


@settings(max_examples=30, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(start=st.floats(-50, 50), depth=st.integers(1, 5))
def test_safeguarded_iteration_takes_at_most_twice_the_steps_of_the_theory(start, depth):
    # Every other evaluation at least is a plain step or as good as one: residuals fall by q at every accepted point.
    q, tol = 0.9, 1e-6
    x0 = torch.tensor([[start]], dtype=torch.float64)
    s = fixed_point(trap, x0, contraction=q, tol=tol, max_steps=1000, anderson=depth)
    first = float(norm(trap(x0) - x0))
    needed = math.log(max(first, 1e-12) * q / (1 - q) / (tol * float(norm(s.x)))) / -math.log(q)
    assert s.converged
    assert s.steps <= 2 * max(needed, 1) + 3


def test_rejected_points_are_not_returned():
    def trap(x):  # a contraction near 0 that leaves the finite numbers where extrapolation lands
        return torch.where(x.abs() > 50, torch.full_like(x, torch.nan), 0.5 * x + 1)

    s = fixed_point(trap, torch.full((1, 1), 40.0), contraction=0.5, tol=1e-5, max_steps=100)
    torch.testing.assert_close(s.x, torch.full((1, 1), 2.0), rtol=1e-4, atol=0)


def test_extrapolations_that_are_not_finite_are_survived():
    calls = []

    def step(x):
        calls.append(1)
        good = 0.9 * torch.sin(x) + 1
        return torch.full_like(x, torch.inf) if len(calls) in (3, 4) and len(calls) % 2 else good

    s = fixed_point(step, torch.zeros(1, 3, dtype=torch.float64), contraction=0.9, tol=1e-9, max_steps=300)
    assert s.converged
    torch.testing.assert_close(s.x, 0.9 * torch.sin(s.x) + 1, rtol=1e-9, atol=0)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e12])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_scaled_data_take_the_same_steps_to_the_scaled_solution(scale, dtype):
    scale = 2.0 ** round(math.log2(scale))
    step, _, b = contraction(0.9)
    matrix = step(torch.eye(20, dtype=b.dtype)) - b
    matrix, b = matrix.T.to(dtype), b.to(dtype)

    def solve(s):
        return fixed_point(
            lambda x: (matrix @ x.unsqueeze(-1)).squeeze(-1) + s * b, 0 * b, contraction=0.9, tol=1e-4, max_steps=500
        )

    one, other = solve(1.0), solve(scale)
    assert one.converged
    assert other.steps == one.steps
    torch.testing.assert_close(other.x / scale, one.x, rtol=1e-3, atol=0)


@pytest.mark.parametrize("with_select", [True, False])
def test_finished_samples_are_removed_and_frozen(with_select):
    b = random(3, 20)
    q = torch.tensor([0.1, 0.9, 0.5], dtype=torch.float64)
    matrix = random(3, 20, 20, seed=1)
    matrix = matrix / torch.linalg.matrix_norm(matrix, 2, keepdim=True)
    rows = []

    def make(index):
        def partial(x):
            rows.append(len(x))
            assert len(x) == len(index)
            return torch.stack(
                [(q[i] * matrix[i] @ v.unsqueeze(-1)).squeeze(-1) + b[i] for i, v in zip(index, x, strict=True)]
            )

        return partial

    everyone = torch.arange(3)
    s = fixed_point(
        make(everyone),
        torch.zeros_like(b),
        contraction=0.9,
        tol=1e-6,
        max_steps=500,
        select=make if with_select else None,
    )
    assert s.converged
    steps = s.sample_steps.tolist()
    assert steps[0] < steps[2] < steps[1]
    expected = [sum(n > k for n in steps) for k in range(max(steps))]
    assert rows == (expected if with_select else [3] * max(steps))
    for i in range(3):
        alone = fixed_point(make([i]), torch.zeros_like(b[:1]), contraction=0.9, tol=1e-6, max_steps=500)
        torch.testing.assert_close(alone.x[0], s.x[i], rtol=1e-12, atol=1e-14)
        assert alone.steps == steps[i]
        assert (s.residuals[steps[i] - 1 :, i] == s.residuals[steps[i] - 1, i]).all()


def test_expansive_map_is_never_called_converged():
    s = fixed_point(lambda x: -1.5 * x + 1, torch.zeros(1, 3), tol=1e-6, max_steps=30, anderson=0)
    assert s.status is Status.MAX_STEPS
    assert "max_steps" in str(s.status)
    rotation = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    s = fixed_point(lambda x: x @ rotation + 1, torch.zeros(1, 2), tol=1e-6, max_steps=50, contraction=0.5, anderson=0)
    assert s.status is Status.MAX_STEPS


def test_divergence_is_a_status_of_that_sample_alone():
    slopes = torch.tensor([[0.5], [1e30]])
    s = fixed_point(lambda x: slopes * x + 1, torch.ones(2, 1), tol=1e-5, max_steps=60, contraction=0.5, anderson=0)
    assert s.sample_status == (Status.CONVERGED, Status.DIVERGED)
    assert s.status is Status.DIVERGED
    assert torch.isfinite(s.x).all()
    torch.testing.assert_close(s.x[0], torch.tensor([2.0]), rtol=1e-4, atol=0)


def test_start_that_is_not_finite_is_reported():
    s = fixed_point(lambda x: 0.5 * x, torch.full((1, 2), torch.nan), contraction=0.5)
    assert s.status is Status.DIVERGED


def test_no_steps_allowed_gives_the_start():
    s = fixed_point(lambda x: 0.5 * x, torch.ones(2, 3), max_steps=0)
    assert s.status is Status.MAX_STEPS
    assert s.residuals.shape == (0, 2)
    assert s.x.equal(torch.ones(2, 3))


def test_constant_map_takes_one_step():
    s = fixed_point(lambda x: torch.full_like(x, 7.0), torch.zeros(1, 3), contraction=0.0, tol=1e-6)
    assert (s.steps, s.converged) == (1, True)
    assert s.x.equal(torch.full((1, 3), 7.0))


@pytest.mark.parametrize("options", [{"tol": -1.0}, {"tol": math.nan}, {"max_steps": -1}])
def test_a_tolerance_or_limit_that_is_none_is_refused(options):
    with pytest.raises(DataError, match="neither may be negative"):
        fixed_point(lambda x: 0.5 * x, torch.ones(1, 2), **options)


@pytest.mark.parametrize("contraction", [1.0, 1.5, -0.1, math.nan])
def test_a_contraction_that_is_none_is_refused(contraction):
    with pytest.raises(DataError, match=r"is in \[0, 1\)"):
        fixed_point(lambda x: 0.5 * x, torch.ones(1, 2), contraction=contraction)


@pytest.mark.parametrize(("q", "tol"), [(0.99, 1e-6), (0.99, 1e-4), (0.9999, 1e-5)])
def test_rounding_adds_at_most_eps_over_one_minus_q_to_the_tolerance(q, tol):
    b = random(1, 50, dtype=torch.float32)
    slopes = torch.linspace(-q, q, 50)
    s = fixed_point(lambda x: slopes * x + b, 0 * b, contraction=q, tol=tol, max_steps=1000)
    assert s.converged
    error = norm(s.x - b.double() / (1 - slopes.double()))
    assert error <= (tol + torch.finfo(torch.float32).eps / (1 - q)) * norm(s.x)


def test_picard_keeps_the_last_image_alone():
    history = AndersonHistory(0)
    for _ in range(3):
        history.append(torch.ones(1, 4), torch.ones(1, 4), torch.tensor([True]))
    assert len(history._points) == len(history._residuals) == 1


@pytest.mark.parametrize("anderson", [0, 5])
def test_no_samples_give_no_solutions(anderson):
    x0 = torch.zeros(0, 3, 4, dtype=torch.complex64)
    s = fixed_point(lambda x: 0.5 * x, x0, contraction=0.5, anderson=anderson)
    assert s.x.equal(x0) and s.converged and s.sample_status == () and s.steps == 0


def test_divergence_beyond_the_range_of_the_norm_is_no_convergence():
    solution = fixed_point(lambda x: 3 * x + 1, torch.zeros(1, 3), max_steps=500, anderson=0)
    assert solution.status is Status.DIVERGED and bool(torch.isfinite(solution.x).all())
