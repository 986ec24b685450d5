"""MRpro's own operators. CI runs this in an environment with MRpro: see .ci/neighbours."""

import warnings

import pytest
import torch

from problems import random, unit_maps
from resolvent.interop import from_mrpro
from resolvent.linop import SENSE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    operators = pytest.importorskip("mrpro.operators", reason="MRpro is not installed here; CI has it")


def test_fourier_after_sensitivity_is_sense():
    maps = unit_maps(2, 3, 1, 6, 5)
    ours = SENSE(maps, torch.ones(6, 5), ndim=2)
    theirs = from_mrpro(operators.FastFourierOp(dim=(-2, -1)) @ operators.SensitivityOp(maps), norm=1.0, batch=2)
    x, y, second = random(2, 1, 6, 5), random(2, 3, 1, 6, 5), torch.tensor([1])
    assert torch.allclose(theirs(x), ours(x), atol=1e-12)
    assert torch.allclose(theirs.adjoint(y), ours.adjoint(y), atol=1e-12)
    assert torch.allclose(theirs.select(second)(x[1:]), ours(x)[1:], atol=1e-12)
