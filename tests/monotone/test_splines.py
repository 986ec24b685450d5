import numpy as np
import pytest
import torch

from problems import random
from resolvent.monotone.splines import KNOTS, MonotoneSpline, spline

CHANNELS = 3


def splines(seed=0):
    s = MonotoneSpline(CHANNELS).double()
    with torch.no_grad():
        s.logits.copy_(2 * random(*s.logits.shape, seed=seed, dtype=torch.float64))
        s.log_width.copy_(random(CHANNELS, seed=seed + 1, dtype=torch.float64))
    return s


def value(s, t):
    """All functions at the points t ``(points,)``: ``(channels, points)``."""
    t = t.expand(1, CHANNELS, 1, -1)
    return spline(t, *s.tables(2)).reshape(CHANNELS, -1).detach()


@pytest.mark.parametrize("seed", [0, 1])
def test_spline_is_the_interpolation_of_its_knots(seed):
    s = splines(seed)
    t = torch.linspace(-40, 40, 1001, dtype=torch.float64)
    slopes, widths = s.logits.sigmoid().detach().numpy(), s.log_width.exp().detach().numpy()
    for k, ours in enumerate(value(s, t)):
        knots = widths[k] * np.array([-1e4, *KNOTS, 1e4])
        heights = np.concatenate([[0], np.cumsum(slopes[k] * np.diff(knots))])
        heights -= np.interp(0, knots, heights)
        np.testing.assert_allclose(ours.numpy(), np.interp(t.numpy(), knots, heights), rtol=0, atol=1e-10)


def test_spline_is_zero_at_zero_and_continuous():
    s = splines()
    assert (value(s, torch.zeros(1, dtype=torch.float64)) == 0).all()
    for k, width in enumerate(s.log_width.exp().tolist()):
        knots = width * torch.tensor(KNOTS, dtype=torch.float64)
        jump = value(s, knots + 1e-9)[k] - value(s, knots - 1e-9)[k]
        assert (jump.abs() < 1e-8).all()


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_slopes_lie_between_zero_and_one_whatever_the_parameters(scale):
    s = splines()
    with torch.no_grad():
        s.logits.mul_(scale)
    t = torch.linspace(-30, 30, 4001, dtype=torch.float64)
    v = value(s, t)
    slope = (v[:, 1:] - v[:, :-1]) / (t[1:] - t[:-1])
    assert slope.min() >= -1e-11
    assert slope.max() <= 1 + 1e-11
    assert slope.max() > 0.9
    assert slope.min() < 0.1


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_channel_has_its_own_function(ndim):
    s = splines()
    slopes, width = s.tables(ndim)
    assert slopes.shape == (len(KNOTS) + 1, CHANNELS, *(1,) * ndim)
    assert width.shape == (CHANNELS, *(1,) * ndim)
    t = random(2, CHANNELS, *(3,) * ndim, dtype=torch.float64)
    together = spline(t, slopes, width)
    for k in range(CHANNELS):
        assert spline(t[:, k : k + 1], slopes[:, k : k + 1], width[k : k + 1]).equal(together[:, k : k + 1])


def test_gradient_reaches_slopes_and_widths():
    s = splines()
    t = random(1, CHANNELS, 2, 2, dtype=torch.float64).requires_grad_()

    def f(t, logits, log_width):
        return torch.func.functional_call(_Apply(s), {"s.logits": logits, "s.log_width": log_width}, (t,))

    assert torch.autograd.gradcheck(f, (t, s.logits, s.log_width))


class _Apply(torch.nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s

    def forward(self, t):
        return spline(t, *self.s.tables(2))


@pytest.mark.parametrize("extreme", [-1e4, -120.0, 100.0, 1e4])
def test_no_width_is_too_extreme_for_a_function(extreme):
    s = splines().float()
    with torch.no_grad():
        s.log_width.fill_(extreme)
    t = torch.tensor([-1e6, -1.0, 0.0, 1e-6, 1.0, 1e6])
    v = value(s, t)
    assert torch.isfinite(v).all()
    slope = v.diff() / t.diff()
    assert slope.min() >= 0 and slope.max() <= 1 + 1e-6
