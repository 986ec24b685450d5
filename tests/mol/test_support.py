"""Where no coil sees anything, a model in units of the scan shows nothing."""

import pytest
import torch

from problems import random, random_mask, unit_maps
from resolvent.linop import SENSE
from resolvent.mol import MOL, solve_reference
from resolvent.monotone import ConditionedStack, ResidualStack
from resolvent.testing import check_monotone


@pytest.fixture
def scan():
    """Two scans whose maps leave out different pixels."""
    maps = unit_maps(2, 3, 8, 7)
    maps[0, ..., :3, :], maps[1, ..., 5:] = 0, 0
    A = SENSE(maps, random_mask(2, 8, 7))
    return A, A(random(2, 8, 7))


@pytest.mark.parametrize("score", [ResidualStack(channels=4, layers=2), ConditionedStack(0.1, 4, 2, 4, 1)])
def test_unseen_pixels_are_zero_and_the_bound_holds(scan, score):
    A, y = scan
    with torch.no_grad():
        for p in score.parameters():
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    model = MOL(score, 20.0, normalise=True).double()
    recon = model.solve(y, A, tol=1e-4, noise=0.01)
    assert (recon.image[0, :3] == 0).all() and (recon.image[1, :, 5:] == 0).all()
    assert recon.image[0, 3:].abs().min() > 0
    exact = solve_reference(model, y, A, noise=0.01)
    assert (recon.image - exact).norm() <= recon.certificate.distance * recon.image.norm()
    plain = MOL(score, 20.0).double().solve(y, A, tol=1e-4, noise=0.01)
    assert plain.image[0, :3].abs().max() > 1e-3  # which the network made up


def test_a_score_on_a_support_keeps_its_constant_and_serves_a_part_of_the_batch(scan):
    A, y = scan
    equation, _, context = MOL(ResidualStack(m=0.2, channels=4, layers=2), normalise=True).double().pose(y, A, 0.01)
    check_monotone(equation.score, context.sense, m=0.2)
    part = equation.score.select(torch.tensor([1]))
    torch.testing.assert_close(part(context.sense[1:]), equation.score(context.sense)[1:])


def test_every_pixel_is_seen_unless_an_operator_says_otherwise(scan):
    A, _ = scan
    assert A.support.shape == (2, 8, 7) and A.support[0, :3].sum() == 0 and A.support[0, 3:].min() == 1
    assert A.H.support is None
