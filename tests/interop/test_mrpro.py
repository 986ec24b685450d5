"""Operators of MRpro itself, where it is installed."""

import pytest
import torch

from problems import random, random_mask, unit_maps
from resolvent.interop import from_mrpro
from resolvent.linop import SENSE
from resolvent.mol import MOL
from resolvent.monotone import ResidualStack
from resolvent.testing import check_adjoint

operators = pytest.importorskip("mrpro.operators")

MAPS, MASK = unit_maps(2, 3, 1, 8, 7), random_mask(2, 1, 8, 7)


@pytest.fixture
def pair():
    """SENSE of two samples, of ours and of MRpro."""
    there = operators.CartesianMaskingOp(MASK[:, None]) @ operators.FastFourierOp(dim=(-2, -1))
    return SENSE(MAPS, MASK, ndim=2), from_mrpro(there @ operators.SensitivityOp(MAPS), norm=1.0, batch=2)


def test_sense_of_mrpro_is_the_same_operator(pair):
    ours, theirs = pair
    x, y = random(2, 1, 8, 7), random(2, 3, 1, 8, 7)
    torch.testing.assert_close(theirs(x), ours(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(theirs.normal(x), ours.normal(x), rtol=0, atol=1e-12)
    check_adjoint(theirs, x, y)


def test_image_and_gradient_of_a_model_are_the_same_with_sense_of_mrpro(pair):
    model = MOL(ResidualStack(channels=4, layers=2).double(), 20.0, normalise=True).double()
    found = []
    for A in pair:
        y = random(2, 3, 1, 8, 7).requires_grad_()
        x = model(y, A, 0.0)
        x.abs().square().sum().backward()
        found.append((x.detach(), y.grad))
    torch.testing.assert_close(*found, rtol=0, atol=1e-7)
