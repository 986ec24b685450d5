"""Convolutions plane by plane, or in strips: numbers and derivatives are those of PyTorch."""

import pytest
import torch
from torch.autograd import grad
from torch.nn.functional import conv2d, conv3d

from problems import random
from resolvent.monotone import convolution
from resolvent.monotone.convolution import conv, conv_adjoint


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(convolution, "BLOCK", 12)  # two planes of 2 x 3 pixels


def case(batch: int, depth: int, size: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    shapes = (batch, 2, depth, 2, 3), (3, 2, size, size, size), (3,)
    x, weight, bias = (random(*shape, seed=n).real.requires_grad_() for n, shape in enumerate(shapes))
    return x, weight, bias


@pytest.mark.parametrize(("batch", "depth", "size"), [(1, 5, 3), (2, 3, 3), (1, 1, 3), (1, 5, 5)])
def test_values_and_gradients_are_those_of_conv3d(batch: int, depth: int, size: int):
    inputs = case(batch, depth, size)
    ours, theirs = conv(*inputs), conv3d(*inputs, padding=size // 2)
    torch.testing.assert_close(ours, theirs)
    v = random(*ours.shape, seed=9).real
    torch.testing.assert_close(grad(ours, inputs, v), grad(theirs, inputs, v))


def test_result_may_be_overwritten_as_networks_do():
    x, weight, bias = case(1, 5)
    back = random(2, 3, 3, 3, 3, seed=5).real.requires_grad_()

    ours = conv(conv(x, weight, bias).relu_(), back).add_(x)
    theirs = conv3d(torch.relu(conv3d(x, weight, bias, padding=1)), back, padding=1) + x
    torch.testing.assert_close(ours, theirs)
    inputs, v = (x, weight, bias, back), random(*ours.shape, seed=9).real
    torch.testing.assert_close(grad(ours, inputs, v), grad(theirs, inputs, v))


def test_product_with_the_jacobian_can_be_differentiated_once_more():
    x, weight, _ = case(1, 5)
    v = random(1, 3, 5, 2, 3, seed=9).real

    def slope(convolve, x, weight):  # of a network: its derivative moves with x and with the weights
        return grad(convolve(x, weight).square(), x, v, create_graph=True)[0]

    ours = slope(conv, x, weight).square().sum()
    theirs = slope(lambda x, w: conv3d(x, w, padding=1), x, weight).square().sum()
    torch.testing.assert_close(grad(ours, (x, weight)), grad(theirs, (x, weight)))


def test_product_with_the_jacobian_in_x_leaves_the_kernel_alone(monkeypatch: pytest.MonkeyPatch):
    x, weight, bias = case(1, 5)
    y = conv(x, weight, bias)

    def fail(*_: object, **__: object):
        raise AssertionError("the gradient of the kernel was computed")

    monkeypatch.setattr(convolution, "conv2d_weight", fail)
    v = random(*y.shape, seed=9).real
    torch.testing.assert_close(grad(y, x, v, retain_graph=True)[0], conv_adjoint(v, weight))
    with pytest.raises(AssertionError, match="kernel"):
        grad(y, weight, v)


def test_gradient_of_the_kernel_is_not_differentiated_silently():
    x, weight, _ = case(1, 5)
    y = conv(x, weight)
    with pytest.raises(RuntimeError, match="differentiated again"):
        grad(y, weight, torch.ones_like(y), create_graph=True)


def test_small_volumes_are_one_block_and_can_be_mapped_over(monkeypatch: pytest.MonkeyPatch):
    x, weight, bias = case(2, 5)
    blocks = conv(x, weight, bias)
    monkeypatch.setattr(convolution, "BLOCK", 2 * 5 * 6)
    torch.testing.assert_close(conv(x, weight, bias), blocks)
    mapped = torch.func.vmap(lambda image: conv(image.unsqueeze(0), weight, bias)[0])(x)
    torch.testing.assert_close(mapped, blocks)


@pytest.mark.parametrize("shape", [(2, 2, 7, 3), (1, 2, 1, 4), (1, 2, 2, 3), (3, 2, 2, 3)])
@pytest.mark.parametrize("size", [3, 5])
def test_strips_in_double_precision_are_the_whole(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], size: int):
    x, weight, bias = random(*shape).real, random(3, 2, size, size, seed=1).real, random(3, seed=2).real
    for rows in (0, 2, 4, 999):  # at once one row, two, two images of two, all
        monkeypatch.setattr(convolution, "COPIES", rows * 8 * 2 * size**2 * shape[-1])
        with torch.no_grad():
            torch.testing.assert_close(conv(x, weight, bias), conv2d(x, weight, bias, padding=size // 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dilation", [2, 3])
def test_points_of_a_kernel_may_lie_apart(dtype, dilation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(convolution, "COPIES", 2000)  # in double precision: some rows at once
    shapes = (2, 2, 9, 11), (3, 2, 3, 3), (3,), (2, 3, 9, 11)
    x, weight, bias, y = (random(*shape, seed=n).real.to(dtype) for n, shape in enumerate(shapes))
    theirs = conv2d(x, weight, bias, padding=dilation, dilation=dilation)
    torch.testing.assert_close(conv(x, weight, bias, dilation), theirs)
    with torch.no_grad():
        torch.testing.assert_close(conv(x, weight, bias, dilation), theirs)
    forth, back = (conv(x, weight, dilation=dilation) * y).sum(), (x * conv_adjoint(y, weight, dilation)).sum()
    torch.testing.assert_close(forth, back)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("biased", [True, False])
def test_convolution_of_a_gpu_has_the_gradients_of_conv2d(dilation, biased):
    x, weight = random(2, 3, 7, 6).real.requires_grad_(), random(4, 3, 3, 3, seed=1).real.requires_grad_()
    bias = random(4, seed=2).real.requires_grad_() if biased else None
    given = [t for t in (x, weight, bias) if t is not None]
    found = []
    for out in (
        convolution._InPrecision.apply(x, weight, bias, dilation),
        conv2d(x, weight, bias, padding=dilation, dilation=dilation),
    ):
        slopes = grad(out.square().sum(), given, create_graph=True)
        twice = grad(sum(s.square().sum() for s in slopes), given)
        found.append([out, *slopes, *twice])
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact)
    mapped = torch.func.vmap(lambda one: convolution._InPrecision.apply(one, weight, bias, dilation))(x.unsqueeze(1))
    torch.testing.assert_close(mapped[:, 0], found[1][0])


def test_those_of_a_kernel_of_three_axes_may_not():
    x, weight, _ = case(1, 5)
    with pytest.raises(ValueError, match="dilation must be 1"):
        conv(x, weight, dilation=2)
