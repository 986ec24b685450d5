"""The centred orthonormal Fourier transform, and the phases that centre it without shifting arrays."""

import cmath
import math
from collections.abc import Sequence

import torch
from torch import Tensor


def fft(x: Tensor, ndim: int = 2) -> Tensor:
    """Centred orthonormal discrete Fourier transform over the last `ndim` axes.

    ``k[f] = N^(-1/2) sum_n x[n] exp(-2 pi i (f - h)(n - h) / N)`` with ``h = N // 2`` on every axis, so the origin
    of image and k-space lies at index ``N // 2``. Unitary: ``ifft`` is its inverse and its adjoint.

    >>> import torch
    >>> k = fft(torch.ones(1, 4, 6, dtype=torch.complex64))
    >>> k.abs().argmax().item() == 2 * 6 + 3
    True
    """
    axes = tuple(range(-ndim, 0))
    return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(x, dim=axes), dim=axes, norm="ortho"), dim=axes)


def ifft(k: Tensor, ndim: int = 2) -> Tensor:
    """Inverse and adjoint of `fft`."""
    axes = tuple(range(-ndim, 0))
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(k, dim=axes), dim=axes, norm="ortho"), dim=axes)


def grid_frequency(mask: Tensor, axes: Sequence[int]) -> Tensor:
    """Distance of the samples of a grid from the centre of k-space along `axes`, 1 at the edge of each axis.

    In the shape of `mask` (real, the spatial axes last), with length 1 along all other axes.
    """
    squares = mask.new_zeros((1,) * mask.ndim)
    for axis in axes:
        n = mask.shape[axis]
        k = (torch.arange(n, device=mask.device) - n // 2) / (n / 2)
        squares = squares + (k**2).to(squares).reshape(-1, *(1,) * (-1 - axis))
    return squares.sqrt()


def varying(mask: Tensor, ndim: int) -> tuple[int, ...]:
    """The axes, of the last `ndim`, along which the mask is not constant."""
    return tuple(axis for axis in range(-ndim, 0) if bool((mask != mask.narrow(axis, 0, 1)).any()))


def centring_phase(shape: tuple[int, ...], like: Tensor) -> tuple[Tensor, complex]:
    """Phase ``p`` and constant ``c`` with ``fft(x) = c p F(p x)``, F the transform without shifts.

    From ``(f - h)(n - h) = f n - h f - h n + h^2``: ``p[n] = exp(2 pi i h n / N)`` and ``c = exp(-2 pi i h^2 / N)`` on
    every axis, ``h = N // 2``. Exact for odd and even sizes. Because ``|p| = |c| = 1`` they cancel in ``A^H A``.
    """
    phase = torch.ones((), dtype=torch.complex128, device="cpu")
    constant = 1.0 + 0.0j
    for size in shape:
        h = size // 2
        turns = torch.arange(size, dtype=torch.int64, device="cpu") * h % size  # integers: no rounding for large sizes
        line = torch.exp(2j * math.pi * turns.to(torch.float64) / size)
        phase = phase.unsqueeze(-1) * line
        constant *= cmath.exp(-2j * math.pi * (h * h % size) / size)
    return phase.to(device=like.device, dtype=like.dtype), constant
