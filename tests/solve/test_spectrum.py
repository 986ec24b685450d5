import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from problems import random
from resolvent import ResolventError
from resolvent.solve import lanczos


def hermitian(eigenvalues, seed=0, dtype=torch.complex128):
    """Hermitian matrices ``(batch, n, n)`` with the eigenvalues ``(batch, n)``."""
    batch, size = eigenvalues.shape
    q = torch.linalg.qr(random(batch, size, size, seed=seed, dtype=dtype)).Q
    return (q * eigenvalues.unsqueeze(1).to(q.dtype)) @ q.mH


def by(matrix):
    return lambda x: (matrix @ x.unsqueeze(-1)).squeeze(-1)


def length(x):
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


def spread(batch, size, seed=0):
    """Eigenvalues of both signs."""
    return 3 * random(batch, size, seed=seed, dtype=torch.float64) + torch.arange(batch).unsqueeze(1)


@settings(max_examples=30, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(
    size=st.integers(1, 16),
    batch=st.integers(1, 3),
    seed=st.integers(0, 1000),
    largest=st.booleans(),
    dtype=st.sampled_from([torch.complex128, torch.float64]),
)
def test_extreme_eigenvalue_is_the_dense_one(size, batch, seed, largest, dtype):
    matrix = hermitian(spread(batch, size, seed), seed, dtype)
    ritz = lanczos(by(matrix), random(batch, size, dtype=dtype), largest=largest, steps=2 * size, tol=1e-13, seed=seed)
    dense = torch.linalg.eigvalsh(matrix)[:, -1 if largest else 0]
    scale = torch.linalg.matrix_norm(matrix, 2)
    assert ((ritz.value - dense).abs() <= 1e-11 * scale).all()
    assert (ritz.residual <= 1e-6 * scale).all()
    torch.testing.assert_close(length(ritz.vector), torch.ones(batch, dtype=torch.float64))
    torch.testing.assert_close(by(matrix)(ritz.vector), dense.unsqueeze(1) * ritz.vector, atol=1e-5, rtol=0)


@pytest.mark.parametrize("largest", [False, True])
def test_agrees_with_arpack_on_a_large_spectrum(largest):
    eigenvalues = torch.cat([torch.tensor([-1.0]), torch.linspace(0, 5, 398), torch.tensor([7.0])]).double()
    matrix = hermitian(eigenvalues[None], dtype=torch.float64)
    theirs = scipy.sparse.linalg.eigsh(matrix[0].numpy(), k=1, which="LA" if largest else "SA")[0][0]
    ours = lanczos(by(matrix), torch.zeros(1, 400, dtype=torch.float64), largest=largest, tol=1e-7)
    assert ours.value.item() == pytest.approx(theirs, abs=1e-10)
    assert ours.steps.item() < 50


def test_an_eigenvalue_lies_within_the_residual_and_the_smallest_ritz_value_lies_above():
    eigenvalues = spread(4, 60)
    matrix = hermitian(eigenvalues)
    for steps in (1, 3, 6, 10):
        low = lanczos(by(matrix), random(4, 60), steps=steps, tol=0)
        high = lanczos(by(matrix), random(4, 60), steps=steps, tol=0, largest=True)
        assert (low.steps == steps).all()
        gap = (eigenvalues - low.value.unsqueeze(1)).abs().amin(1)
        assert (gap <= low.residual).all()
        assert (low.value > eigenvalues.amin(1)).all()
        assert (high.value < eigenvalues.amax(1)).all()
        image = by(matrix)(low.vector)
        torch.testing.assert_close(low.residual, length(image - low.value.unsqueeze(1) * low.vector))


def test_complex_samples_are_pairs_of_reals():
    size = 7  # a real-linear map that is not complex-linear, symmetric in Re a^H b
    pairs = hermitian(spread(1, 2 * size), dtype=torch.float64)[0]

    def matvec(x):
        flat = torch.view_as_real(x).reshape(len(x), -1) @ pairs
        return torch.view_as_complex(flat.reshape(*x.shape, 2))

    ritz = lanczos(matvec, torch.zeros(1, size, dtype=torch.complex128), tol=1e-12)
    assert ritz.value.item() == pytest.approx(torch.linalg.eigvalsh(pairs)[0].item(), abs=1e-10)


@pytest.mark.parametrize("dtype", [torch.complex128, torch.float64])
def test_degenerate_matrices_end_when_their_eigenvalues_are_exhausted(dtype):
    eigenvalues = torch.tensor([[2.0, 2.0, -1.0, -1.0, -1.0, 5.0], [4.0] * 6, [0.0] * 6], dtype=torch.float64)
    ritz = lanczos(by(hermitian(eigenvalues, dtype=dtype)), torch.zeros(3, 6, dtype=dtype), tol=0)
    assert ritz.value.tolist() == pytest.approx([-1, 4, 0], abs=1e-12)
    assert (ritz.residual <= 1e-12).all()
    assert ritz.steps[0] == 3
    assert ritz.steps[1] <= 2
    assert ritz.steps[2] == 1


@pytest.mark.parametrize("scale", [1e-100, 1e-6, 1e9, 1e100])
def test_scaled_matrix_takes_the_same_steps_to_the_scaled_eigenvalue(scale):
    matrix = hermitian(spread(1, 40))
    one = lanczos(by(matrix), random(1, 40), tol=1e-8)
    other = lanczos(by(scale * matrix), random(1, 40), tol=1e-8)
    assert one.steps.equal(other.steps)
    assert other.value.item() == pytest.approx(scale * one.value.item(), rel=1e-9)


def test_sample_does_not_depend_on_its_neighbours():
    easy = torch.tensor([[-5.0] + [1.0] * 39], dtype=torch.float64)
    hard = torch.linspace(0, 1, 40, dtype=torch.float64)[None]
    matrix, start = hermitian(torch.cat([easy, hard])), random(2, 40)
    both = lanczos(by(matrix), start, start=start, tol=1e-8)
    alone = lanczos(by(matrix[:1]), start[:1], start=start[:1], tol=1e-8)
    assert both.steps[0] == alone.steps[0] < both.steps[1]
    torch.testing.assert_close(both.vector[0], alone.vector[0], rtol=1e-12, atol=1e-12)


def test_basis_stays_orthogonal_where_three_term_recurrences_lose_it():
    # without reorthogonalisation copies of the isolated eigenvalue appear and the others come late
    eigenvalues = torch.cat([torch.logspace(-8, 0, 30, dtype=torch.float64), torch.tensor([1e6]).double()])[None]
    matrix = hermitian(eigenvalues, dtype=torch.float64)
    ritz = lanczos(by(matrix), torch.zeros(1, 31, dtype=torch.float64), steps=31, tol=0)
    assert abs(ritz.value.item() - 1e-8) <= 31 * 2.2e-16 * 1e6


def test_tolerance_ends_the_work_and_is_kept():
    matrix = hermitian(spread(1, 200))
    scale = torch.linalg.matrix_norm(matrix, 2)
    loose, tight = (lanczos(by(matrix), random(1, 200), tol=tol, steps=200) for tol in (1e-2, 1e-6))
    assert loose.steps < tight.steps < 200
    assert loose.residual <= 1.01e-2 * scale
    assert tight.residual <= 1.01e-6 * scale
    assert loose.residual > 1e-6 * scale


def test_start_is_used_and_the_seed_changes_the_random_one():
    d = torch.tensor([1.0, 2.0, 3.0])
    axis = torch.tensor([[0.0, 5.0, 0.0]])
    ritz = lanczos(lambda x: d * x, axis, start=axis)
    assert (ritz.value.item(), ritz.steps.item()) == (2.0, 1)  # blind to the smallest, as the docstring says
    matrix = hermitian(spread(1, 50))
    values = [lanczos(by(matrix), random(1, 50), steps=3, seed=seed).value.item() for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_images_of_any_shape_keep_it():
    weight = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    ritz = lanczos(lambda x: weight * x, torch.zeros(2, 3, 4, 5, dtype=torch.complex128), steps=60, tol=1e-10)
    np.testing.assert_allclose(ritz.value, weight.flatten(1).amin(1), atol=1e-8)
    assert ritz.vector.shape == (2, 3, 4, 5)
    assert ritz.vector.is_complex()


def test_numbers_that_are_not_finite_are_no_eigenvalue():
    d = torch.tensor([[1.0, 2.0], [torch.nan, 2.0]])
    ritz = lanczos(lambda x: d * x, torch.zeros(2, 2))
    assert ritz.value[0].item() == pytest.approx(1)
    assert ritz.residual[0] < 1e-6
    assert ritz.residual[1] == torch.inf


@pytest.mark.parametrize("bad", [0.0, torch.nan])
def test_start_without_direction_is_refused(bad):
    start = torch.tensor([[1.0, 2.0], [bad, 0.0]])
    with pytest.raises(ResolventError, match=r"start of a sample is zero or not finite\. Leave it out"):
        lanczos(lambda x: x, start, start=start)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_no_samples_have_no_eigenvalues(dtype):
    like = torch.zeros(0, 3, 4, dtype=dtype)
    for start in (None, like):
        ritz = lanczos(lambda x: 2 * x, like, start=start)
        assert ritz.vector.equal(like) and ritz.value.shape == ritz.residual.shape == ritz.steps.shape == (0,)
