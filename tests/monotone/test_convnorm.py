import math

import pytest
import torch

from problems import random
from resolvent.monotone import conv_norm_bound, convnorm
from resolvent.monotone.convnorm import _largest_by_elimination, _largest_by_powers
from resolvent.monotone.convolution import conv, conv_adjoint

KERNELS = [(1, 1, 3, 3), (2, 3, 3, 3), (4, 2, 3, 3), (2, 2, 5, 5), (3, 3, 1, 1), (2, 2, 3, 3, 3), (1, 2, 3, 3, 3)]
SIZES = {2: [(5, 5), (6, 6), (7, 4), (8, 9)], 3: [(3, 4, 5), (4, 4, 4), (5, 3, 3)]}
CASES = [(k, s) for k in KERNELS for s in SIZES[len(k) - 2]]


def kernel(*shape, seed=0):
    return random(*shape, seed=seed, dtype=torch.float64)


def matrix(weight, size, dilation=1):
    inputs = weight.shape[1] * torch.Size(size).numel()
    basis = torch.eye(inputs, dtype=weight.dtype).reshape(inputs, weight.shape[1], *size)
    return conv(basis, weight, dilation=dilation).flatten(1).T


@pytest.mark.parametrize(("shape", "size"), CASES, ids=str)
def test_certified_norm_is_above_the_dense_norm_is_above_the_estimate(shape, size):
    weight = kernel(*shape)
    dense = torch.linalg.matrix_norm(matrix(weight, size), 2)
    x = kernel(1, shape[1], *size, seed=3)
    for _ in range(10):  # power iteration: a lower bound
        x = x / x.norm()
        estimate = conv(x, weight).norm()
        x = conv_adjoint(conv(x, weight), weight)
    bound = conv_norm_bound(weight)
    assert estimate <= dense * (1 + 1e-12)
    assert dense <= bound * (1 + 1e-13)  # equal for kernels of size one


@pytest.mark.parametrize("dilation", [2, 4])
def test_norm_of_a_kernel_with_holes_is_that_of_the_kernel_on_every_lattice_that_it_sees(dilation):
    weight = kernel(3, 2, 3, 3)
    dense = torch.linalg.matrix_norm(matrix(weight, (4, 3)), 2)
    apart = torch.linalg.matrix_norm(matrix(weight, (4 * dilation, 3 * dilation), dilation), 2)
    torch.testing.assert_close(apart, dense)
    assert apart <= conv_norm_bound(weight)


@pytest.mark.parametrize("n", [1, 3, 40])
def test_powers_bound_the_largest_singular_value_from_above_within_their_factor(n):
    symbol = torch.cat([random(20, n, n, seed=n), torch.zeros(1, n, n), torch.eye(n)[None].repeat(2, 1, 1)])
    bounds, factor = _largest_by_powers(symbol)
    exact = torch.linalg.svdvals(symbol)[:, 0]
    assert 1 <= factor < 1.001
    assert (exact <= bounds * (1 + 1e-12)).all() and (bounds <= exact * factor * (1 + 1e-12)).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 5), (5, 2), (40, 40)], ids=str)
@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_elimination_leaves_the_largest_singular_value_of_all(shape, size):
    for seed in range(5):
        alike = random(60, *shape, seed=seed)
        equal, one = alike[:1].expand(60, -1, -1), torch.ones(60, 1, 1, dtype=torch.float64)
        one[20] += 1e-6
        for symbol in (alike, equal, equal * one, alike[:1], 0 * alike):
            symbol = size * symbol
            found, exact = _largest_by_elimination(symbol), torch.linalg.svdvals(symbol)[:, 0]
            assert ((found == 0) | ((found - exact).abs() <= 1e-13 * exact.max())).all()
            assert (found.max() - exact.max()).abs() <= 1e-13 * exact.max()


def test_norm_by_powers_is_above_the_norm_by_singular_values_and_has_its_gradient(monkeypatch):
    weight = kernel(4, 3, 3, 3).requires_grad_()
    exact = conv_norm_bound(weight)
    (slope,) = torch.autograd.grad(exact, weight)

    monkeypatch.setattr(convnorm, "_largest", _largest_by_powers)  # as on a GPU
    above = conv_norm_bound(weight)
    (same,) = torch.autograd.grad(above, weight)
    assert exact < above < 1.001 * exact
    torch.testing.assert_close(same, slope * (above / exact).detach())


LARGE = [((2, 2, 3, 3), (48, 48)), ((3, 2, 3, 3), (48, 47)), ((2, 2, 3, 3, 3), (24, 24, 24))]


@pytest.mark.parametrize(("shape", "size"), LARGE, ids=str)
def test_certified_norm_is_within_5_percent_of_the_norm_of_a_large_image(shape, size):
    weight, x = kernel(*shape, seed=1), kernel(1, shape[1], *size)
    for _ in range(60):
        x = conv_adjoint(conv(x / x.norm(), weight), weight)
    below = conv(x / x.norm(), weight).norm()  # power iteration: a lower bound of the norm
    assert below <= conv_norm_bound(weight) <= 1.05 * below


@pytest.mark.parametrize("shape", KERNELS, ids=str)
@pytest.mark.parametrize("grid", [8, 16, 32])
def test_certified_norm_is_between_the_supremum_and_its_riesz_factor(shape, grid):
    weight = kernel(*shape, seed=2)
    dims, half = len(shape) - 2, shape[2] // 2
    symbol = torch.fft.fftn(weight, s=(64 if dims == 3 else 256,) * dims, dim=tuple(range(2, 2 + dims)))
    supremum = torch.linalg.svdvals(symbol.flatten(2).movedim(-1, 0))[:, 0].max()
    factor = 1 / torch.cos(torch.tensor(torch.pi * half / grid)).item() ** dims
    # the fine grid itself may miss the supremum by its own Riesz factor
    fine = 1 / torch.cos(torch.tensor(torch.pi * half / (64 if dims == 3 else 256))).item() ** dims
    assert supremum <= conv_norm_bound(weight, grid) * (1 + 1e-12)
    assert conv_norm_bound(weight, grid) <= factor * fine * supremum * (1 + 1e-12)


def test_worst_frequency_between_grid_points_is_covered():
    # The symbol cos(w - pi / N), as a real kernel on pairs: its peak, 1, lies half way between two grid points.
    grid, weight = 8, torch.zeros(2, 2, 3, 3, dtype=torch.float64)
    shift = math.pi / grid
    for place, angle in ((0, -shift), (2, shift)):
        rotation = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        weight[:, :, 1, place] = 0.5 * torch.tensor(rotation, dtype=torch.float64)
    dense = torch.linalg.matrix_norm(matrix(weight, (1, 41)), 2)
    symbol = torch.fft.fftn(weight, s=(grid, grid), dim=(2, 3)).flatten(2).movedim(-1, 0)
    assert torch.linalg.svdvals(symbol).max() < 0.95 * dense  # the grid alone certifies less than the norm
    assert dense <= conv_norm_bound(weight, grid)


@pytest.mark.parametrize("shape", [(2, 3, 3, 3), (2, 2, 3, 3, 3), (1, 1, 5, 5)], ids=str)
def test_gradient_of_the_bound_is_its_slope(shape):
    weight = kernel(*shape, seed=4).requires_grad_()
    (grad,) = torch.autograd.grad(conv_norm_bound(weight, 16), weight)
    direction = kernel(*shape, seed=5)
    h = 1e-6
    above, below = (conv_norm_bound(weight.detach() + s * h * direction, 16) for s in (1, -1))
    numeric = (above - below) / (2 * h)
    torch.testing.assert_close((grad * direction).sum(), numeric, rtol=1e-7, atol=0)
    with torch.no_grad():
        assert abs(conv_norm_bound(weight, 16) - (grad * weight).sum()) < 1e-12  # homogeneous of degree one


def test_bound_is_homogeneous_and_zero_for_zero():
    weight = kernel(2, 2, 3, 3)
    torch.testing.assert_close(conv_norm_bound(1e3 * weight), 1e3 * conv_norm_bound(weight), rtol=1e-12, atol=0)
    assert conv_norm_bound(0 * weight) == 0


@pytest.mark.parametrize(("shape", "grid"), [((1, 1, 2, 2), 32), ((1, 1, 3, 5), 32), ((1, 1, 3, 3), 2)])
def test_kernels_that_the_bound_does_not_cover_are_refused(shape, grid):
    with pytest.raises(ValueError, match="kernels must be odd cubes, grids > 2"):
        conv_norm_bound(kernel(*shape), grid)


@pytest.mark.parametrize("shape", KERNELS, ids=str)
def test_conv_adjoint_is_the_transposed_matrix(shape):
    weight, size = kernel(*shape), SIZES[len(shape) - 2][0]
    outputs = shape[0] * torch.Size(size).numel()
    basis = torch.eye(outputs, dtype=torch.float64).reshape(outputs, shape[0], *size)
    transposed = conv_adjoint(basis, weight).flatten(1)
    torch.testing.assert_close(transposed, matrix(weight, size), rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_kernel_that_is_not_finite_has_no_norm(value):
    weight = torch.randn(4, 4, 3, 3)
    weight[1, 2, 0, 0] = value
    weight.requires_grad_()
    bound = conv_norm_bound(weight)
    bound.backward()
    assert bound.isnan() and weight.grad.isnan().all()
