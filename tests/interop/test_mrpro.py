"""MRpro's own operators. CI runs this in an environment with MRpro: see .ci/neighbours."""

import warnings

import pytest
import torch

from problems import random, random_mask, unit_maps
from resolvent.interop import from_mrpro
from resolvent.linop import SENSE
from resolvent.mol import MOL
from resolvent.monotone import ResidualStack
from resolvent.testing import check_adjoint, check_norm_bound

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    operators = pytest.importorskip("mrpro.operators", reason="MRpro is not installed here; CI has it")

MAPS, MASK = unit_maps(2, 3, 1, 8, 7), random_mask(2, 1, 8, 7)


@pytest.fixture
def pair():
    """SENSE of two samples, of ours and of MRpro."""
    there = operators.CartesianMaskingOp(MASK[:, None]) @ operators.FastFourierOp(dim=(-2, -1))
    ours = SENSE(MAPS, MASK, ndim=2)
    return ours, from_mrpro(there @ operators.SensitivityOp(MAPS), norm=1.0, batch=2, frequency=ours.frequency)


def test_sense_of_mrpro_is_the_same_operator(pair):
    ours, theirs = pair
    x, y = random(2, 1, 8, 7), random(2, 3, 1, 8, 7)
    torch.testing.assert_close(theirs(x), ours(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(theirs.normal(x), ours.normal(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(theirs.select(torch.tensor([1]))(x[1:]), ours(x)[1:], rtol=0, atol=1e-12)
    check_adjoint(theirs, x, y)


def test_image_and_gradient_of_a_model_are_the_same_with_sense_of_mrpro(pair):
    model = MOL(ResidualStack(channels=4, layers=2).double(), 20.0, normalise=True).double()
    model.tol, model.adjoint_tol, model.linear_tol = 1e-9, 1e-9, 1e-10
    found = []
    for A in pair:
        y = random(2, 3, 1, 8, 7).requires_grad_()
        x = model(y, A, 0.0)
        x.abs().square().sum().backward()
        found.append((x.detach(), y.grad))
    torch.testing.assert_close(*found, rtol=0, atol=1e-7)


def test_radial_scans_of_mrpro_are_solved_and_certified():
    data = pytest.importorskip("mrpro.data")
    angle, radius = torch.arange(12)[:, None] * torch.pi / 12, torch.arange(-16, 16) / 2
    ky, kx = ((radius * f(angle))[None, None, None] for f in (torch.sin, torch.cos))
    trajectory = data.KTrajectory(kz=torch.zeros(1, 1, 1, 1, 1), ky=ky, kx=kx)
    matrix = data.SpatialDimension(1, 16, 16)
    fourier = operators.FourierOp(recon_matrix=matrix, encoding_matrix=matrix, traj=trajectory)
    maps = unit_maps(1, 3, 1, 16, 16).to(torch.complex64)
    frobenius = (12 * 32) ** 0.5  # of the transform, each entry 1 / 16 in modulus
    A = from_mrpro(fourier @ operators.SensitivityOp(maps), norm=frobenius)
    x = random(1, 1, 16, 16)
    check_norm_bound(A.to_double(), x)
    check_adjoint(A.to_double(), x, random(1, 3, 1, 12, 32, seed=1), tol=1e-5)
    model = MOL(ResidualStack(channels=4, layers=2), 20.0)
    found = model.solve(A(x.to(torch.complex64)), A, noise=0.0)
    assert found.solution.converged
    assert found.certificate.distance < 1e-3
