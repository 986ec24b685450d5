"""The non-uniform Fourier transform and its adjoint, differentiable: finufft (extra ``nufft``) for torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resolvent._errors import DataError

MISSING = "Non-Cartesian scans need the package finufft, which is not installed. Run: pip install 'resolvent[nufft]'."
ACCURACY = {torch.complex64: 1e-6, torch.complex128: 1e-13}
"""Relative accuracy requested from finufft."""
STEPS = 15
"""Iterations for the density compensation."""


def nufft(images: Tensor, places: Tensor) -> Tensor:
    """``k[j] = N^(-1/2) sum_n x[n] exp(-2 pi i k_j . (n - h) / N)``, ``h = N // 2``: `fft` at any place of k-space.

    Differentiable in `images`, any number of times. It is computed on the CPU; the result is on the device of `images`.

    Args:
        images: ``(trajectory, many, *spatial)``, complex.
        places: ``(trajectory, sample, axis)`` in cycles per field of view, axes as in the image; no gradient.

    Returns:
        ``(trajectory, many, sample)``.
    """
    return _Forward.apply(images, places)  # pyright: ignore[reportReturnType]


def nufft_adjoint(samples: Tensor, places: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``x[n] = N^(-1/2) sum_j k[j] exp(2 pi i k_j . (n - h) / N)``: the adjoint of `nufft`, not its inverse.

    Args:
        samples: ``(trajectory, many, sample)``, complex.
        places: see `nufft`.
        shape: spatial shape of the images.
    """
    return _Adjoint.apply(samples, places, shape)  # pyright: ignore[reportReturnType]


def exponential_sums(weights: Tensor, places: Tensor, matrix: tuple[int, ...]) -> Tensor:
    """``q[d] = sum_j w_j exp(2 pi i k_j . d / N)``, N the matrix, for d from ``-N`` to ``N - 1`` on every axis.

    Args:
        weights: ``(trajectory, sample)``; computed in double precision.
        places: see `nufft`.
        matrix: N on every axis.
    """
    samples = weights.detach().to(torch.complex128).unsqueeze(1)
    return _transform(1, samples, places, matrix, tuple(2 * n for n in matrix)).squeeze(1)


def compensation(mask: Tensor, places: Tensor, matrix: tuple[int, ...]) -> Tensor:
    """Density compensation weights: ``sum_i psi(k_j - k_i) w_i = 1``, about the share of a grid cell for each sample.

    ``w <- w / (psi * w)`` with ``psi(k) = prod (sin(pi k) / (N sin(pi k / N)))^2``, which is 1 at 0, nonnegative, and
    zero at all other places of the grid. So w is 1 where samples are no denser than the grid, and less elsewhere.
    Masked samples have w = 0.

    Source: J. G. Pipe, P. Menon, MRM 41:179-186 (1999), eq. 5.

    Args:
        mask: ``(trajectory, sample)``, 0 where a sample does not count.
        places: see `nufft`.
        matrix: N on every axis.

    Returns:
        ``(trajectory, sample)``, in double precision.
    """
    window = torch.ones((), dtype=torch.float64, device=places.device)
    for n in matrix:  # the transform of psi
        window = window.unsqueeze(-1) * (1 - torch.arange(-n, n, device=places.device).abs() / n)
    window = window / math.prod(matrix)
    w = (mask != 0).double()
    for _ in range(STEPS):
        grid = (window * exponential_sums(w, places, matrix)).unsqueeze(1)
        spread = _transform(2, grid, places, matrix, tuple(2 * n for n in matrix)).squeeze(1).real
        w = torch.where(w > 0, w / spread.clamp_min(torch.finfo(torch.float64).eps), 0.0)
    return w


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, places: Tensor) -> Tensor:
        ctx.places, ctx.shape = places, tuple(images.shape[2:])
        return _transform(2, images, places, ctx.shape, ctx.shape) / math.sqrt(math.prod(ctx.shape))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return nufft_adjoint(grads[0], ctx.places, ctx.shape), None


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, samples: Tensor, places: Tensor, shape: tuple[int, ...]) -> Tensor:
        ctx.places = places
        return _transform(1, samples, places, shape, shape) / math.sqrt(math.prod(shape))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return nufft(grads[0], ctx.places), None, None


def _transform(kind: int, values: Tensor, places: Tensor, matrix: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """Type 1 (samples to grid) or type 2 (grid to samples) of finufft, with one plan for each trajectory."""
    try:
        import finufft
    except ImportError as error:
        raise DataError(MISSING) from error
    dtype = values.dtype
    numbers = values.detach().cpu().resolve_conj().numpy()
    turns = 2 * math.pi * places.detach().cpu().numpy().astype(np.float64) / np.array(matrix)
    many, out = values.shape[1], []
    threads = torch.get_num_threads()
    for data, angles in zip(numbers, turns, strict=True):
        isign = 1 if kind == 1 else -1
        plan = finufft.Plan(kind, shape, many, ACCURACY[dtype], isign, dtype=numbers.dtype.name, nthreads=threads)
        plan.setpts(*(np.ascontiguousarray(line, dtype=np.finfo(numbers.dtype).dtype) for line in angles.T))
        found = plan.execute(np.ascontiguousarray(data) if many > 1 else np.ascontiguousarray(data[0]))
        out.append(torch.from_numpy(found.reshape(many, *(shape if kind == 1 else (len(angles),)))))
    return torch.stack(out).to(values.device)
