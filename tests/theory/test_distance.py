"""The certified distance is never below the true one, and not much above it, wherever a solve is stopped."""

import math
from collections.abc import Iterator

import pytest
import torch

from problems import DYNAMIC, PLANE, STRICT, VOLUME, random, small_scores
from resolvent.linop import SENSE
from resolvent.mol.certificate import certify
from resolvent.mol.equation import Equation, resolvent
from resolvent.monotone import ScanContext
from resolvent.solve import along, norm

GROUPS = [(kind, setting) for kind in STRICT for setting in (PLANE, VOLUME, DYNAMIC)]
STOPS = 4


def group(kind, setting, batch, generator) -> tuple[Equation, torch.Tensor]:
    """A batch of scans with a weight of the data each, and one network of random margin; where to start."""

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    m = math.exp(float(uniform(math.log(0.02), math.log(0.5), 1)))
    lam = uniform(0, math.log(1000), batch).exp()
    seed = int(torch.randint(2**31, (), generator=generator))
    score = small_scores(setting.network, m, seed % 1000)[kind]
    maps = random(batch, setting.coils, *setting.maps, seed=seed)
    maps = maps / maps.abs().square().sum(1, keepdim=True).sqrt()
    mask = (
        uniform(0, 1, batch, *setting.mask) < uniform(0.2, 0.9, batch).reshape(-1, *(1,) * len(setting.mask))
    ).double()
    mask[..., 0] = 1
    A = SENSE(maps, mask, ndim=setting.ndim)
    y = A(random(batch, *setting.image, seed=seed + 1)) + 0.1 * random(
        batch, setting.coils, *setting.image, seed=seed + 2
    )
    zero_filled = A.adjoint(y)
    data = along(lam, zero_filled) * zero_filled
    sense = resolvent(A, lam, data, tol=1e-8)

    context = ScanContext(
        sense, zero_filled, uniform(0.01, 0.3, batch), lambda u: resolvent(A, lam, u + data, tol=1e-8)
    )
    return Equation(A, y, lam, score.condition(context), 1.0, score.m), sense


def stopped(equation, start, batch, generator) -> Iterator[tuple[Equation, torch.Tensor, torch.Tensor]]:
    """The scans in a few parts, each stopped elsewhere by another method: the part, and what the solver returned."""
    for index in torch.randperm(batch, generator=generator).chunk(STOPS):
        draw = torch.rand(4, generator=generator).tolist()
        part = equation.select(index)
        x0 = start[index] + 3 * (draw[0] < 0.3) * random(*start[index].shape, seed=int(1e6 * draw[1]))
        tol, anderson = 10 ** (-5 * draw[2]), 5 * (draw[3] < 0.5)
        limit = 400 if draw[0] < 0.7 else int(1 + 12 * draw[2])  # some are stopped by the limit of steps
        yield part, part.solve(x0, tol=tol, max_steps=limit, anderson=anderson).x, index


def ratios(batch, seed):
    """Certified over true distance of ``18 batch`` solves, with the bound asserted for each of them."""
    generator = torch.Generator().manual_seed(seed)
    found, solves = [], 0
    for kind, setting in GROUPS:
        equation, start = group(kind, setting, batch, generator)
        truth = equation.solve(start, tol=1e-12, max_steps=4000)
        for part, x, index in stopped(equation, start, batch, generator):
            known = truth.x[index]
            # how far `known` may be from the solution: |G(x)| / m, measured where it is
            slack = norm(part.residual(known)) / (equation.m.value * norm(known))
            assert (slack < 1e-9).all()
            error = norm(x - known) / norm(x)
            distances = certify(part, x, "all-data").distances
            assert (distances >= error - 2 * slack).all(), (kind, setting.name)
            found.append((distances / error)[error > (1000 * slack).clamp_min(1e-11)])
            solves += len(index)
    ratio = torch.cat(found)
    print(f"{solves} solves, {len(ratio)} of them above rounding: certified over true distance: ", end="")
    quantiles = torch.quantile(ratio, torch.tensor([0.0, 0.05, 0.5, 0.95, 1.0], dtype=torch.float64))
    print("least {:.3f}, 5 % {:.2f}, median {:.2f}, 95 % {:.1f}, most {:.1f}".format(*quantiles.tolist()))
    return ratio, solves


@torch.no_grad()
def test_certified_distance_is_at_least_the_true_one_and_within_a_factor_of_10_in_the_median():
    ratio, solves = ratios(batch=12, seed=1)
    assert solves >= 200
    assert len(ratio) > 0.8 * solves
    assert ratio.median() <= 10


@pytest.mark.exhaustive
@torch.no_grad()
def test_certified_distance_of_1000_solves():
    ratio, solves = ratios(batch=56, seed=2)
    assert solves >= 1000
    assert ratio.median() <= 10
