import math

import pytest
import torch

from problems import LinearScore, random, small_scores
from resolvent.monotone import PlainCNN
from resolvent.monotone.estimates import lipschitz_penalty, local_lipschitz, log_barrier


def length(x):
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


def quotient(H, estimate):
    return length(H(estimate.u) - H(estimate.v)) / length(estimate.u - estimate.v)


@pytest.mark.parametrize("seed", range(4))
def test_of_a_linear_map_it_is_the_norm_and_never_more(seed):
    matrix = random(30, 30, seed=seed)
    norm = torch.linalg.matrix_norm(matrix, 2).item()
    estimate = local_lipschitz(LinearScore(matrix, m=0.1).condition().H, random(2, 5, 6, seed=seed + 9))
    assert (estimate.value <= norm * (1 + 1e-12)).all()
    assert (estimate.value >= 0.96 * norm).all()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", ["ProductNetwork", "ResidualStack"])
def test_of_a_strict_network_it_stays_below_the_certified_constant(kind, ndim):
    score = small_scores(ndim, m=0.3)[kind]
    for size in (0.1, 10.0):
        estimate = local_lipschitz(score.condition().H, size * random(2, *(5, 6, 4)[:ndim]), radius=0.5, steps=30)
        assert (estimate.value <= 0.7).all()
        assert (estimate.value > 0.02).all()


def test_value_is_the_quotient_of_its_pair_within_the_ball():
    H, u = small_scores(2)["PlainCNN"].condition().H, random(3, 6, 7)
    estimate = local_lipschitz(H, u, radius=0.2)
    torch.testing.assert_close(estimate.value, quotient(H, estimate))
    assert estimate.u.equal(u)
    assert (length(estimate.v - u) <= 0.2 * length(u) * (1 + 1e-12)).all()
    assert not estimate.value.requires_grad


def test_search_climbs_above_random_directions():
    score = small_scores(2)["PlainCNN"]
    H, u = score.condition().H, random(2, 8, 8)
    found = local_lipschitz(H, u, steps=20, starts=1)
    drawn = torch.stack([local_lipschitz(H, u, steps=0, starts=1, seed=seed).value for seed in range(50)])
    assert (found.value > 1.5 * drawn.amax(0)).all()


def test_more_starts_keep_the_worst():
    H, u = small_scores(2)["PlainCNN"].condition().H, random(4, 6, 6)
    values = [local_lipschitz(H, u, starts=starts, steps=3).value for starts in (1, 2, 6)]
    assert (values[0] <= values[1]).all()
    assert (values[1] <= values[2]).all()
    assert (values[2] > values[0]).any()


def test_no_units_and_no_neighbours():
    H = LinearScore(random(30, 30), m=0.1).condition().H
    u = random(2, 5, 6)
    one = local_lipschitz(H, u, steps=4)
    torch.testing.assert_close(local_lipschitz(H, 1e-6 * u, steps=4).value, one.value)
    tame = torch.cat([u[:1], torch.zeros_like(u[:1])])
    assert torch.equal(local_lipschitz(H, tame, steps=4).value[0], one.value[0])


def test_seed_changes_the_search():
    H, u = small_scores(2)["PlainCNN"].condition().H, random(1, 6, 6)
    values = [local_lipschitz(H, u, steps=1, seed=seed).value.item() for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_zero_images_and_flat_networks_are_no_trouble():
    estimate = local_lipschitz(lambda x: 0 * x, torch.zeros(2, 4, 4, dtype=torch.complex128))
    assert estimate.value.tolist() == [0, 0]
    assert torch.isfinite(estimate.v.abs()).all()
    assert (length(estimate.v) > 0).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_an_infinite_estimate(bad):
    factor = torch.tensor([0.5, bad], dtype=torch.float64).reshape(2, 1, 1)
    estimate = local_lipschitz(lambda x: factor * x, random(2, 3, 3))
    assert estimate.value.tolist() == pytest.approx([0.5, torch.inf])


def test_finds_the_steep_side_of_a_kink():
    # Re x is doubled below 1: reached within the ball, but not at u
    def H(x):
        return x + torch.clamp(x.real - 1, max=0)

    u = torch.full((1, 3, 3), 1.05 + 0j, dtype=torch.complex128)
    estimate = local_lipschitz(H, u, radius=0.5, starts=6, steps=20)
    assert 1.5 < estimate.value.item() <= 2


def test_barrier_is_continuous_with_its_derivative():
    for t, e in ((0.9, 0.1), (0.5, 0.02)):
        joint = torch.tensor([t - e - 1e-9, t - e + 1e-9], dtype=torch.float64, requires_grad=True)
        value = log_barrier(joint, t, e)
        (slope,) = torch.autograd.grad(value.sum(), joint)
        assert value.tolist() == pytest.approx([-math.log(e)] * 2, rel=1e-6)
        assert slope.tolist() == pytest.approx([1 / e] * 2, rel=1e-6)


def test_barrier_has_the_formula_on_both_sides():
    low, high = log_barrier(torch.tensor([0.2, 3.0], dtype=torch.float64), 0.9, 0.1).tolist()
    assert low == pytest.approx(-math.log(0.9 - 0.2))
    assert high == pytest.approx(-math.log(0.1) + (3.0 - 0.9 + 0.1) / 0.1)


def test_barrier_has_a_finite_gradient_everywhere():
    values = torch.linspace(-5, 50, 200, requires_grad=True)
    (slope,) = torch.autograd.grad(log_barrier(values, 0.9).sum(), values)
    assert torch.isfinite(slope).all()
    assert (slope > 0).all()
    assert (slope.diff() >= 0).all()


def test_penalty_is_the_mean_of_the_barriers_at_all_points():
    H = small_scores(2)["PlainCNN"].condition().H
    points = [random(2, 6, 6), 5 * random(1, 6, 6, seed=1)]
    barriers = [log_barrier(local_lipschitz(H, u, steps=3, starts=1, seed=4).value, 0.7) for u in points]
    penalty = lipschitz_penalty(H, points, 0.7, steps=3, seed=4)
    assert penalty.item() == pytest.approx(torch.cat(barriers).mean().item())


def test_gradient_of_the_penalty_is_that_of_the_quotient_at_the_pair():
    score, u = small_scores(2)["PlainCNN"], random(2, 6, 6)
    pair = local_lipschitz(score.condition().H, u, steps=5, starts=1)

    def at_pair():
        return log_barrier(quotient(score.condition().H, pair), 0.7, 0.05).mean().item()

    lipschitz_penalty(score.condition().H, [u], 0.7, e=0.05).backward()
    weight = score.weights[1]
    for index in ((0, 0, 1, 1), (2, 3, 0, 2), (3, 1, 2, 0)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[index] += sign * 1e-6
                values.append(at_pair())
                weight[index] -= sign * 1e-6
        assert weight.grad[index].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-8)


def test_gradient_of_the_penalty_is_that_of_the_maximum_where_the_search_has_converged():
    matrix = random(12, 12, seed=3).requires_grad_()
    u = random(1, 3, 4)

    def H(x):
        return (x.reshape(1, -1) @ matrix.T).reshape(x.shape)

    lipschitz_penalty(H, [u], t=50.0, steps=300).backward()
    norm = torch.linalg.matrix_norm(matrix, 2)
    (expected,) = torch.autograd.grad(-(50.0 - norm).log(), matrix)
    torch.testing.assert_close(matrix.grad, expected, atol=1e-5, rtol=1e-3)


def test_training_with_the_penalty_brings_the_estimate_below_the_limit():
    torch.manual_seed(0)
    score = PlainCNN(channels=6, depth=3)
    with torch.no_grad():
        for weight in score.weights:
            weight.mul_(2)
    u = random(2, 8, 8, dtype=torch.complex64)
    assert (local_lipschitz(score.condition().H, u).value > 1.5).all()
    optimiser = torch.optim.Adam(score.parameters(), lr=2e-2)
    for step in range(40):
        optimiser.zero_grad()
        lipschitz_penalty(score.condition().H, [u], 0.9, steps=3, seed=step).backward()
        optimiser.step()
    assert (local_lipschitz(score.condition().H, u, seed=99).value < 0.9).all()
