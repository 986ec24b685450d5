import numpy as np
import pytest
import torch

from problems import dense, random
from resolvent.linop import fft, ifft
from resolvent.linop.fourier import centring_phase

SHAPES = [(4, 6), (5, 7), (4, 5), (1, 6), (3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_transform_is_the_sum_of_its_definition(shape):
    x = random(*shape)
    expected = x
    for axis, size in enumerate(shape):
        n = torch.arange(size, dtype=torch.float64) - size // 2
        matrix = torch.exp(-2j * torch.pi * torch.outer(n, n) / size) / size**0.5
        expected = torch.tensordot(matrix, expected, ([1], [axis])).movedim(0, axis)
    torch.testing.assert_close(fft(x[None], ndim=len(shape))[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_transform_is_unitary_and_inverse_is_adjoint(shape):
    matrix = dense(lambda x: fft(x, ndim=len(shape)), shape)
    back = dense(lambda x: ifft(x, ndim=len(shape)), shape)
    torch.testing.assert_close(back, matrix.mH, rtol=0, atol=1e-13)
    torch.testing.assert_close(back @ matrix, torch.eye(len(matrix), dtype=matrix.dtype), rtol=0, atol=1e-13)


def test_transform_equals_sigpy():
    sigpy = pytest.importorskip("sigpy")
    x = random(2, 5, 6)
    np.testing.assert_allclose(fft(x).numpy(), sigpy.fft(x.numpy(), axes=(-2, -1)), atol=1e-12)
    np.testing.assert_allclose(ifft(x, 1).numpy(), sigpy.ifft(x.numpy(), axes=(-1,)), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_centring_phase_replaces_the_shifts(shape):
    x = random(*shape)
    phase, constant = centring_phase(shape, like=x)
    plain = torch.fft.fftn(phase * x, norm="ortho")
    torch.testing.assert_close(constant * phase * plain, fft(x[None], ndim=len(shape))[0], rtol=0, atol=1e-12)


def test_centring_phase_is_exact_for_large_odd_sizes():
    phase, constant = centring_phase((10_001,), like=torch.zeros(1, dtype=torch.complex128))
    x = random(10_001)
    torch.testing.assert_close(
        constant * phase * torch.fft.fftn(phase * x, norm="ortho"), fft(x[None], 1)[0], rtol=0, atol=1e-11
    )
