import math

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from problems import random
from resolvent._errors import DataError
from resolvent.solve import Status, conjugate_gradient


def positive(size, condition, batch=1, seed=0, dtype=torch.complex128):
    """Hermitian matrices with eigenvalues from 1 to `condition`."""
    q = torch.linalg.qr(random(batch, size, size, seed=seed, dtype=dtype)).Q
    eigenvalues = torch.logspace(0, torch.log10(torch.tensor(float(condition))), size, dtype=torch.float64)
    return (q * eigenvalues.to(q.dtype)) @ q.mH


def by(matrix):
    return lambda x: (matrix @ x.unsqueeze(-1)).squeeze(-1)


@settings(max_examples=40, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(
    size=st.integers(1, 20),
    condition=st.floats(1, 1e4),
    batch=st.integers(1, 3),
    seed=st.integers(0, 1000),
    warm=st.booleans(),
    dtype=st.sampled_from([torch.complex128, torch.float64]),
)
def test_solution_is_the_dense_one(size, condition, batch, seed, warm, dtype):
    matrix, b = positive(size, condition, batch, seed, dtype), random(batch, size, seed=seed + 1, dtype=dtype)
    x0 = random(batch, size, seed=seed + 2, dtype=dtype) if warm else None
    s = conjugate_gradient(by(matrix), b, x0, tol=1e-11, max_steps=3000)
    assert s.converged
    error = torch.linalg.vector_norm(s.x - torch.linalg.solve(matrix, b), dim=1)
    # |x - x*| <= |residual| / lambda_min = tol |b|, and rounding of the recurrence, eps cond |x|
    limit = torch.linalg.vector_norm(b, dim=1) * (1e-11 + 20 * 2.2e-16 * condition * max(s.steps, 1))
    assert (error <= limit).all()


def test_finishes_in_as_many_steps_as_there_are_eigenvalues():
    q = torch.linalg.qr(random(1, 30, 30)).Q
    eigenvalues = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64).repeat(10)
    s = conjugate_gradient(by((q * eigenvalues) @ q.mH), random(1, 30, seed=1), tol=1e-12)
    assert s.steps == 3
    assert s.evaluations == 3


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e12])
@pytest.mark.parametrize("relative_to", ["b", "x"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_scaled_data_take_the_same_steps_to_the_scaled_solution(scale, relative_to, dtype):
    matrix, b = positive(12, 100).to(dtype), random(1, 12, seed=1, dtype=dtype)
    scale = 2.0 ** round(torch.log2(torch.tensor(scale, dtype=torch.float64)).item())  # exact in binary
    x0 = random(1, 12, seed=5, dtype=dtype)
    for start in (None, x0):
        one = conjugate_gradient(by(matrix), b, start, tol=1e-4, relative_to=relative_to)
        other = conjugate_gradient(
            by(matrix), scale * b, None if start is None else scale * start, tol=1e-4, relative_to=relative_to
        )
        assert one.converged
        assert other.steps == one.steps > 3
        torch.testing.assert_close(other.x / scale, one.x, rtol=1e-5, atol=0)


@pytest.mark.parametrize("scale", [2.0**-110, 2.0**-83, 2.0**83, 2.0**110])
@pytest.mark.parametrize("near", [False, True])
def test_a_scaled_matrix_takes_the_same_steps_to_the_scaled_solution(scale, near):
    weights, b = torch.tensor([1.0, 2.0, 7.0, 30.0]), torch.tensor([[1.0, 0.5, -2.0, 3.0]])
    for relative_to, start in (("x", None), ("x", torch.ones(1, 4)), ("b", None)):

        def solve(s, tol, relative_to=relative_to, start=start):
            near_it = (lambda r: r / (s * weights.sqrt())) if near else None
            options = {"relative_to": relative_to, "smallest": s, "precondition": near_it, "window": 1}
            return conjugate_gradient(
                lambda x: s * weights * x, b, None if start is None else start / s, tol=tol, **options
            )

        one, other = solve(1.0, 1e-3), solve(scale, 1e-3 if relative_to == "x" else 1e-3 / scale)
        assert one.converged and other.converged
        assert other.steps == one.steps > 1
        assert other.x.equal(one.x / scale)


@pytest.mark.parametrize("scale", [1e-5, 1.0])
def test_small_data_do_not_stall(scale):
    # an absolute epsilon in the step length stops others at a relative residual of 1e-2 on data of size 1e-5
    matrix, b = positive(40, 1e4), scale * random(1, 40)
    s = conjugate_gradient(by(matrix), b, tol=1e-9)
    assert torch.linalg.vector_norm(b - by(matrix)(s.x)) <= 1.1e-9 * torch.linalg.vector_norm(b)


@pytest.mark.parametrize("x0", [None, torch.ones(2, 3, dtype=torch.complex128)])
def test_zero_right_hand_side_gives_zero(x0):
    b = torch.stack([torch.zeros(3), torch.ones(3)]).to(torch.complex128)
    s = conjugate_gradient(lambda x: 2 * x, b, x0, tol=1e-12)
    assert s.converged
    torch.testing.assert_close(s.x, b / 2)
    assert s.sample_steps[0] == 0


@pytest.mark.parametrize("relative_to", ["b", "x"])
def test_residual_is_relative_to_what_was_asked(relative_to):
    matrix, b = positive(20, 1e3), random(1, 20, seed=1)
    s = conjugate_gradient(by(matrix), b, tol=1e-3, relative_to=relative_to)
    reference = torch.linalg.vector_norm(b if relative_to == "b" else s.x)
    assert s.residuals[-1, 0] <= 1e-3 * reference
    before = conjugate_gradient(by(matrix), b, tol=1e-30, max_steps=s.steps - 1, relative_to=relative_to)
    reference = torch.linalg.vector_norm(b if relative_to == "b" else before.x)
    assert before.residuals[-1, 0] > 1e-3 * reference  # not a step too many


def test_residuals_are_those_of_the_iterates():
    matrix, b = positive(20, 50), random(1, 20, seed=1)
    s = conjugate_gradient(by(matrix), b, tol=1e-6)
    assert len(s.residuals) == s.steps + 1
    torch.testing.assert_close(s.residuals[0], torch.linalg.vector_norm(b, dim=1), rtol=1e-12, atol=0)
    true = torch.linalg.vector_norm(b - by(matrix)(s.x), dim=1)
    torch.testing.assert_close(s.residuals[-1], true, rtol=1e-6, atol=0)


def test_warm_start_saves_steps():
    matrix, b = positive(30, 1e3), random(1, 30, seed=1)
    cold = conjugate_gradient(by(matrix), b, tol=1e-8)
    near = cold.x + 1e-6 * random(1, 30, seed=2)
    assert conjugate_gradient(by(matrix), b, near, tol=1e-8).steps < cold.steps
    assert conjugate_gradient(by(matrix), b, torch.linalg.solve(matrix, b), tol=1e-8).steps == 0


@pytest.mark.parametrize(("diagonal", "name"), [([1.0, -1.0], "negative"), ([0.0, 0.0], "zero")])
def test_matrix_that_is_not_definite_breaks_down_and_says_so(diagonal, name):
    d = torch.tensor(diagonal, dtype=torch.float64)
    s = conjugate_gradient(lambda x: d * x, torch.tensor([[1.0, 2.0]], dtype=torch.float64))
    assert s.status is Status.BREAKDOWN
    assert "not positive definite" in str(s.status)
    assert torch.isfinite(s.x).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("diagonal", [[1.0, 1.0, 0.0], [0.0, 2.0, 5.0], [1e-30, 1.0, 3.0]])
def test_a_sample_whose_matrix_is_singular_keeps_the_last_iterate_before_that_showed(diagonal, dtype):
    d = torch.tensor([diagonal, [1.0, 2.0, 3.0]], dtype=dtype)
    b = torch.tensor([[1.0, 2.0, 3.0]], dtype=dtype).expand(2, 3)
    s = conjugate_gradient(lambda x: d * x, b, tol=1e-5)
    assert s.sample_status == (Status.BREAKDOWN, Status.CONVERGED)
    assert torch.linalg.vector_norm(s.x[0]) < 1e3
    residual = torch.linalg.vector_norm(b - d * s.x, dim=1)
    torch.testing.assert_close(s.residuals[-1, 0], residual[0], rtol=1e-3, atol=0)
    torch.testing.assert_close(s.x[1], b[1] / d[1], rtol=1e-4, atol=0)


def test_what_rounding_leaves_is_a_few_eps_of_the_matrix_times_the_solution_whatever_was_asked():
    matrix, b = positive(200, 1e4), random(1, 200, seed=1)
    s = conjugate_gradient(by(matrix.to(torch.complex64)), b.to(torch.complex64), tol=1e-10, max_steps=3000)
    assert s.converged  # says the recurrence
    left = torch.linalg.vector_norm(b - by(matrix)(s.x.to(b.dtype)))
    unit = torch.finfo(torch.float32).eps * 1e4 * torch.linalg.vector_norm(s.x)
    assert 0.1 * unit < left < 10 * unit


def test_no_samples_give_no_solutions():
    for b in (torch.zeros(0, 3, 4), torch.zeros(0, 5, dtype=torch.complex64)):
        for x0 in (None, b):
            s = conjugate_gradient(lambda x: 2 * x, b, x0, relative_to="x", smallest=1.0)
            assert s.x.equal(b) and s.x.dtype == b.dtype
            assert s.converged and s.sample_status == () and s.steps == 0


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("where", ["b", "x0", "matrix"])
def test_numbers_that_are_not_finite_are_reported(bad, where):
    b, x0, matrix = (torch.ones(2, 3, dtype=torch.float64) for _ in range(3))
    {"b": b, "x0": x0, "matrix": matrix}[where][1, 1] = bad
    s = conjugate_gradient(lambda x: 2 * matrix * x, b, x0)
    assert s.sample_status == (Status.CONVERGED, Status.DIVERGED)
    torch.testing.assert_close(s.x[0], b[0] / 2)


def test_a_preconditioner_may_return_what_it_was_given():
    matrix, b = positive(30, 1e2), random(1, 30, seed=1)
    plain, same = (conjugate_gradient(by(matrix), b, tol=1e-8, precondition=p) for p in (None, lambda r: r))
    assert same.steps == plain.steps
    torch.testing.assert_close(same.x, plain.x)


def test_step_limit_is_a_status_that_names_the_settings():
    s = conjugate_gradient(by(positive(30, 1e4)), random(1, 30, seed=1), tol=1e-12, max_steps=3)
    assert s.status is Status.MAX_STEPS
    assert not s.converged
    assert s.steps == s.evaluations == 3
    assert "max_steps" in str(s.status)
    assert "tol" in str(s.status)


def test_sample_does_not_depend_on_its_neighbours():
    easy, hard = positive(30, 5), positive(30, 1e4, seed=7)
    b = random(2, 30, seed=1)

    def both(x):  # one product a sample, so that the same arithmetic is done alone and in company
        return torch.stack([(m @ row.unsqueeze(-1)).squeeze(-1) for m, row in zip((easy[0], hard[0]), x, strict=True)])

    def alone(x):
        return torch.stack([(easy[0] @ row.unsqueeze(-1)).squeeze(-1) for row in x])

    together = conjugate_gradient(both, b, tol=1e-8)
    single = conjugate_gradient(alone, b[:1], tol=1e-8)
    assert together.x[0].equal(single.x[0])
    assert together.sample_steps[0] == single.sample_steps[0] < together.sample_steps[1]
    assert together.steps == together.sample_steps[1]
    assert (together.residuals[single.steps :, 0] == single.residuals[-1, 0]).all()


def test_no_step_is_taken_when_the_start_is_good_enough():
    s = conjugate_gradient(lambda x: x, torch.ones(1, 3), torch.ones(1, 3))
    assert (s.steps, s.evaluations, s.converged) == (0, 1, True)


def test_images_of_any_shape_are_solved():
    b = random(2, 3, 4, 5)
    weight = torch.rand(2, 3, 4, 5, dtype=torch.float64) + 0.5
    torch.testing.assert_close(conjugate_gradient(lambda x: weight * x, b, tol=1e-12).x, b / weight)


@pytest.mark.parametrize("condition", [2, 100, 1e4])
@pytest.mark.parametrize("smallest", [0.3, 1.0])
@pytest.mark.parametrize("warm", [False, True])
def test_error_is_bounded_and_the_residual_of_that_error_is_not_waited_for(condition, smallest, warm):
    matrix, b = positive(200, condition, 3), random(3, 200, seed=1)
    exact = torch.linalg.solve(matrix, b)
    x0 = random(3, 200, seed=2) if warm else None
    for tol in (0.3, 1e-2, 1e-6):
        s = conjugate_gradient(by(matrix), b, x0, tol=tol, relative_to="x", smallest=smallest, max_steps=3000)
        assert s.converged
        error = torch.linalg.vector_norm(s.x - exact, dim=1)
        assert (error <= tol * torch.linalg.vector_norm(s.x, dim=1)).all()
        by_residual = conjugate_gradient(by(matrix), b, x0, tol=tol * smallest, relative_to="x", max_steps=3000)
        assert (s.sample_steps <= by_residual.sample_steps).all()
        assert condition < 1e4 or smallest < 1 or tol < 0.3 or s.steps < 0.8 * by_residual.steps


def test_bound_of_the_error_holds_where_it_is_attained_and_in_single_precision():
    # the whole error lies where M is smallest, and smallest is that eigenvalue
    d = torch.tensor([[1.0, 1.0, 900.0, 1000.0]])
    b = torch.tensor([[1.0, 2.0, 0.0, 0.0]])
    s = conjugate_gradient(lambda x: d * x, b, 0.5 * b, tol=1e-5, relative_to="x", smallest=1.0)
    torch.testing.assert_close(s.x, b, rtol=2e-5, atol=0)
    hard = torch.logspace(0, 4, 3000)[None]
    b = random(1, 3000, dtype=torch.float32)
    s = conjugate_gradient(lambda x: hard * x, b, tol=1e-3, relative_to="x", smallest=1.0)
    assert torch.linalg.vector_norm(s.x - b / hard) <= 1e-3 * torch.linalg.vector_norm(s.x)


@pytest.mark.parametrize(("condition", "known"), [(1e3, 0), (1e3, 1 / 3), (1e4, 1 / 3), (1e4, 2 / 3)])
@pytest.mark.parametrize("tol", [0.2, 1e-3])
def test_estimate_ends_a_preconditioned_solve_earlier_and_near_what_was_asked(condition, known, tol):
    # a part of the decades is known to the preconditioner
    diagonal = torch.logspace(0, math.log10(condition) * known, 200, dtype=torch.float64)
    root = diagonal.sqrt().to(torch.complex128)
    matrix, b = root * positive(200, condition ** (1 - known), 3) * root.unsqueeze(1), random(3, 200, seed=1)
    options = {"tol": tol, "relative_to": "x", "smallest": 1.0, "precondition": lambda r: r / diagonal}
    bounded = conjugate_gradient(by(matrix), b, **options)
    s = conjugate_gradient(by(matrix), b, window=3, **options)
    assert s.converged and s.steps < bounded.steps
    error = torch.linalg.vector_norm(s.x - torch.linalg.solve(matrix, b), dim=1)
    assert (error <= tol * torch.linalg.vector_norm(s.x, dim=1)).all()


def test_estimate_is_taken_only_where_there_is_no_better_bound():
    matrix, b = positive(200, 1e4), random(1, 200, seed=1)
    one, other = (conjugate_gradient(by(matrix), b, tol=0.1, smallest=1.0, window=window) for window in (0, 2))
    assert one.x.equal(other.x) and one.steps == other.steps
    one, other = (conjugate_gradient(by(matrix), b, tol=0.1, window=window) for window in (0, 2))  # of the residual
    assert one.x.equal(other.x)


@pytest.mark.parametrize("smallest", [None, 1.0])
def test_finished_samples_are_left_out_of_the_product(smallest):
    weights = torch.stack([torch.ones(40), torch.linspace(1, 5, 40), torch.linspace(1, 1000, 40)]).double()
    b, widths = random(3, 40, dtype=torch.float64), []

    def product(index):
        def matvec(x):
            widths.append(len(x))
            return weights[index] * x

        return matvec

    options = {"tol": 1e-9, "smallest": smallest}
    s = conjugate_gradient(product([0, 1, 2]), b, select=lambda index: (product(index), None), **options)
    assert widths == sorted(widths, reverse=True)
    assert sum(widths) == int(s.sample_steps.sum()) < 3 * s.steps
    for i in range(3):
        alone = conjugate_gradient(product([i]), b[i : i + 1], **options)
        assert alone.x[0].equal(s.x[i])
        assert alone.steps == s.sample_steps[i]


@pytest.mark.parametrize("smallest", [None, 1.0])
def test_preconditioner_saves_steps_and_changes_neither_solution_nor_tolerance(smallest):
    # eigenvalues over four decades on a diagonal that the preconditioner knows, up to a factor of 3
    diagonal = torch.logspace(0, 4, 40, dtype=torch.float64)
    matrix = diagonal.sqrt().to(torch.complex128) * positive(40, 3, batch=2) * diagonal.sqrt().unsqueeze(1)
    b = random(2, 40, seed=1)
    exact = torch.linalg.solve(matrix, b)
    for relative_to in ("b", "x"):
        options = {"tol": 1e-6, "max_steps": 3000, "relative_to": relative_to, "smallest": smallest}
        plain = conjugate_gradient(by(matrix), b, **options)
        s = conjugate_gradient(by(matrix), b, precondition=lambda r: r / diagonal, **options)
        assert s.converged and 4 * s.steps < plain.steps
        unit = torch.linalg.vector_norm(b if relative_to == "b" else s.x, dim=1)
        missed = (b - by(matrix)(s.x)) if smallest is None else s.x - exact
        assert (torch.linalg.vector_norm(missed, dim=1) <= 1.001e-6 * unit).all()


@pytest.mark.parametrize("selected", [True, False])
def test_preconditioned_samples_do_not_depend_on_their_neighbours(selected):
    weights = torch.stack([torch.ones(40), torch.linspace(1, 5, 40), torch.linspace(1, 1000, 40)]).double()
    b = random(3, 40, dtype=torch.float64)

    def system(index):
        return lambda x: weights[index] * x, lambda r: r / weights[index].sqrt()

    def solve(index, **options):
        matvec, near = system(index)
        estimate = {"smallest": 1.0, "window": 2}
        return conjugate_gradient(matvec, b[index], tol=1e-9, precondition=near, **estimate, **options)

    s = solve([0, 1, 2], select=system if selected else None)
    assert len(set(s.sample_steps.tolist())) == 3
    for i in range(3):
        assert solve([i]).x[0].equal(s.x[i])


@pytest.mark.parametrize("options", [{"tol": -1.0}, {"tol": torch.nan}, {"max_steps": -1}, {"smallest": -1.0}], ids=str)
def test_settings_that_are_none_are_refused(options):
    with pytest.raises(DataError, match="may not be negative"):
        conjugate_gradient(lambda x: 2 * x, torch.ones(1, 3), **options)
