import copy
import pickle

import pytest
import torch

from problems import random
from resolvent.monotone.channels import from_channels, to_channels
from resolvent.monotone.convolution import conv
from resolvent.monotone.layers import UnitKernel


def norm_of(weight, size):
    inputs = weight.shape[1] * torch.Size(size).numel()
    basis = torch.eye(inputs, dtype=torch.float64).reshape(inputs, weight.shape[1], *size)
    return torch.linalg.matrix_norm(conv(basis, weight.double()).flatten(1), 2)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 1e3, 1e20])
@pytest.mark.parametrize("shape", [(3, 2, 3, 3), (2, 2, 3, 3, 3)], ids=str)
def test_kernel_has_norm_at_most_one_whatever_the_weights(scale, shape):
    unit = UnitKernel(scale * random(*shape, dtype=torch.float32))
    norm = norm_of(unit().detach(), (9, 8) if len(shape) == 4 else (5, 4, 5))
    assert 0.7 < norm <= 1


def test_extreme_weights_give_a_kernel_of_norm_at_most_one():
    for weight in (torch.zeros(2, 2, 3, 3), torch.full((2, 2, 3, 3), 3e38), torch.full((2, 2, 3, 3), 1e-44)):
        kernel = UnitKernel(weight)().detach()
        assert torch.isfinite(kernel).all()
        assert norm_of(kernel, (6, 6)) <= 1


def test_kernel_is_normalised_once_until_the_weights_change(monkeypatch):
    calls = []
    original = UnitKernel._divide
    monkeypatch.setattr(UnitKernel, "_divide", lambda self: (calls.append(1), original(self))[1])
    unit = UnitKernel(random(2, 2, 3, 3, dtype=torch.float32))
    with torch.no_grad():
        first = unit()
        assert unit().equal(first)
        assert len(calls) == 1
        unit.weight[0, 0] += 1.0
        second = unit()
        assert len(calls) == 2
        assert not second.equal(first)
        assert norm_of(second, (8, 8)) <= 1
        unit.double()
        assert unit().dtype == torch.float64
    for twin in (copy.deepcopy(unit), pickle.loads(pickle.dumps(unit))):
        assert twin._cached is None
        assert twin().detach().equal(unit().detach())


def test_weights_changed_behind_the_version_counter_are_normalised_anew():
    unit = UnitKernel(random(2, 2, 3, 3, dtype=torch.float32))
    with torch.no_grad():
        for change in (lambda w: w.data.mul_(-1.0), lambda w: setattr(w, "data", w.data.flip(0))):
            before = unit()
            change(unit.weight)
            assert not unit().equal(before)
        twin = UnitKernel(unit.weight.detach().clone())
        for seed in range(20):  # a tensor that lies where a freed one lay
            weight = {"weight": random(2, 2, 3, 3, seed=seed, dtype=torch.float32)}
            twin.weight.copy_(weight["weight"])
            assert torch.func.functional_call(unit, weight).equal(twin())
            del weight


def test_gradient_reaches_the_weights_through_the_normalisation():
    unit = UnitKernel(random(2, 2, 3, 3, dtype=torch.float64))
    (grad,) = torch.autograd.grad(unit().square().sum(), unit.weight)
    assert abs((grad * unit.weight).sum()) < 1e-12 * grad.norm()  # scaling the weights changes nothing
    assert grad.norm() > 0.01


@pytest.mark.parametrize(
    ("shape", "ndim"), [((2, 4, 5), 2), ((2, 3, 4, 5), 2), ((2, 3, 4, 5), 3), ((1, 2, 3, 4, 5), 2)]
)
def test_channels_are_an_isometry_and_their_inverse(shape, ndim):
    x = random(*shape)
    z = to_channels(x, ndim)
    assert z.shape == (torch.Size(shape[:-ndim]).numel(), 2, *shape[-ndim:])
    first = (0,) * (len(shape) - ndim)
    assert z[0, 0].equal(x[first].real)
    assert z[0, 1].equal(x[first].imag)
    assert from_channels(z, x).equal(x)
    torch.testing.assert_close(z.norm(), x.norm())
    assert to_channels(x.conj(), ndim)[:, 1].equal(-z[:, 1])  # a lazy conjugate is resolved


def test_whoever_writes_into_a_kernel_changes_no_later_one():
    unit = UnitKernel(random(2, 2, 3, 3, dtype=torch.float32))
    with torch.no_grad():
        first = unit().clone()
        unit().mul_(3)
        assert unit().equal(first)


def test_a_kernel_made_in_inference_mode_serves_gradients():
    unit = UnitKernel(random(2, 2, 3, 3, dtype=torch.float32)).requires_grad_(False)
    with torch.inference_mode():
        unit()
    x = torch.ones(2, 2, 3, 3, requires_grad=True)
    (unit() * x).sum().backward()
    assert x.grad.equal(unit())
