"""Ascent on a sphere: both methods against eigenvalues, where the largest value is known."""

import pytest
import torch

from problems import random
from resolvent.mol.ascent import METHODS, pgd
from resolvent.solve import inner, norm


def quadratic(matrix):
    """``u -> <u, Q u>`` and its gradient; the largest value on the sphere is the largest eigenvalue."""

    def objective(u):
        image = u @ matrix
        return inner(u, image), 2 * image

    return objective


def unit(*shape, seed=0, dtype=torch.complex128):
    u = random(*shape, seed=seed, dtype=dtype)
    return u / norm(u)[:, None]


@pytest.mark.parametrize("method", METHODS)
def test_finds_the_largest_eigenvalue_for_every_sample(method):
    half = random(12, 12, dtype=torch.float64)
    matrix = (half @ half.T).to(torch.complex128)
    found = METHODS[method](quadratic(matrix), unit(3, 12), 300)
    top = torch.linalg.eigvalsh(matrix)[-1]
    assert (found.value <= top * (1 + 1e-12)).all()
    assert (found.value >= 0.99 * top).all()
    assert torch.allclose(norm(found.point), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(quadratic(matrix)(found.point)[0], found.value)


@pytest.mark.parametrize("method", METHODS)
def test_climbs_where_the_longest_step_would_descend(method):
    matrix = torch.diag(torch.tensor([1.0, 0.5, -3.0, -2.0], dtype=torch.float64))
    found = METHODS[method](quadratic(matrix), unit(2, 4, dtype=torch.float64), 100)
    assert (found.value >= 0.95).all()


@pytest.mark.parametrize("method", METHODS)
def test_history_is_the_best_so_far_and_its_first_entry_the_start(method):
    matrix = random(6, 6, dtype=torch.float64)
    objective, start = quadratic(matrix + matrix.T), unit(2, 6, dtype=torch.float64)
    found = METHODS[method](objective, start, 20)
    assert torch.equal(found.history[0], objective(start)[0])
    assert (found.history.diff(dim=0) >= 0).all()
    assert torch.equal(found.history[-1], found.value)


@pytest.mark.parametrize("method", METHODS)
def test_without_slope_or_with_nan_the_start_is_kept(method):
    start = unit(2, 5)
    flat = METHODS[method](lambda u: (torch.ones(2, dtype=torch.float64), torch.zeros_like(u)), start, 3)
    assert torch.allclose(flat.point, start)
    calls = []

    def objective(u):
        calls.append(u)
        bad = torch.nan if len(calls) > 1 else 1.0
        return torch.full((2,), bad, dtype=torch.float64), u * bad

    broken = METHODS[method](objective, start, 4)
    assert torch.allclose(broken.point, start)
    assert torch.isfinite(torch.stack([norm(u) for u in calls])).all()


def test_infinite_steps_of_pgd_are_the_power_method():
    half = random(8, 8)
    matrix = half @ half.mH
    start = unit(1, 8)
    u = start
    for _ in range(4):
        u = u @ matrix
        u = u / norm(u)
    assert torch.allclose(pgd(quadratic(matrix), start, 5).point, u)
