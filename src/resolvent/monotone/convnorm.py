"""A proved upper bound of the norm of a convolution, for every image size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resolvent._errors import ModelError

_SQUARINGS = 10


def conv_norm_bound(weight: Tensor, grid: int = 32) -> Tensor:
    """Upper bound of the operator norm of a stride-1, zero-padded convolution on images of any size.

    The norm is at most ``sup_w sigma_max(W^(w))``, the largest singular value over all frequencies w of the symbol
    ``W^(w) = sum_k W_k exp(-i w k)`` (zero padding is a restriction of the infinite convolution). For unit u, v,
    ``Re u^H W^(w) v`` is a trigonometric polynomial of degree d (the kernel's half-width) on every axis, and such a
    polynomial is at most ``1 / cos(pi d / N)`` times its maximum on an N-point grid, N > 2 d (M. Riesz). Hence::

        |W| <= max over the grid of sigma_max(W^) / cos(pi d / N)^D

    which exceeds the supremum by at most that factor: 1.0097 for k = 3, N = 32, D = 2.

    The gradient is that of ``Re u^H W^(w) v`` at the maximising frequency and singular vectors.

    Args:
        weight: real kernel ``(out, in, k, ...)`` with odd k and D = 2 or 3 kernel axes.
        grid: N, points of the frequency grid on every axis.

    Returns:
        The bound, a scalar of the dtype of `weight`; computed in double precision. NaN for a kernel that is not finite.

    Raises:
        ModelError: the kernel has even or unequal sizes, or the grid is too coarse for it.

    Source: M. Riesz, Jber. DMV 23:354-368 (1914); H. Sedghi, V. Gupta, P. Long, ICLR 2019, for the symbol.

    >>> import torch
    >>> one = torch.zeros(1, 1, 3, 3); one[0, 0, 1, 1] = 1.0   # the identity has norm 1
    >>> round(conv_norm_bound(one).item(), 3)
    1.01
    """
    out, inp, *kernel = weight.shape
    half = kernel[0] // 2
    if any(k != kernel[0] or k % 2 == 0 for k in kernel) or grid <= 2 * half:
        raise ModelError(
            f"kernel {tuple(kernel)} on a {grid}-point grid: kernels must be odd cubes, grids > 2 * half-width."
        )
    if weight.device.type == "cpu" and not bool(torch.isfinite(weight).all()):
        return (weight * torch.nan).sum()  # NaN, as a solve would end
    with torch.no_grad():
        symbol = torch.fft.rfftn(weight.detach().double(), s=(grid,) * len(kernel), dim=tuple(range(2, weight.ndim)))
        symbol = symbol.reshape(out, inp, -1).movedim(-1, 0)  # (frequency, out, in)
        norms, short = _largest(symbol)
        worst = norms.argmax()
        u, s, vh = torch.linalg.svd(symbol.index_select(0, worst.reshape(1))[0])
        above = short / math.cos(math.pi * half / grid) ** len(kernel)
    if not weight.requires_grad or not torch.is_grad_enabled():
        return (s[0] * above).to(weight.dtype)
    waves = torch.outer(u[:, 0].conj(), vh[0].conj())
    index = torch.unravel_index(worst, (*(grid,) * (len(kernel) - 1), grid // 2 + 1))
    phase = torch.ones((), dtype=torch.complex128, device=weight.device)
    for k, frequency in zip(kernel, index, strict=True):
        turns = torch.arange(k, device=weight.device) * frequency / grid
        phase = phase.unsqueeze(-1) * torch.exp(-2j * math.pi * turns.double())
    slope = (waves.reshape(out, inp, *(1,) * len(kernel)) * phase).real  # d sigma / d W
    return ((weight.double() * slope).sum() * above).to(weight.dtype)


def _largest(matrices: Tensor) -> tuple[Tensor, float]:
    """Singular values, or upper bounds of them, and the factor by which their maximum may be too large."""
    on_processor = matrices.device.type == "cpu"  # elsewhere (a GPU, the meta device) control flow must not use values
    return (_largest_by_elimination(matrices), 1.0) if on_processor else _largest_by_powers(matrices)


def _largest_by_elimination(matrices: Tensor) -> Tensor:
    """The largest singular value of each matrix that may have the overall maximum; a smaller number for the others.

    Let t be the largest eigenvalue so far, including that of every seventh ``G = W^H W``. A matrix is eliminated if
    ``t I - G`` has a Cholesky factor, for then no eigenvalue of G is above t. Where neighbours are similar, nearly all
    are eliminated, in a half or a third of the time of the singular values.
    """
    out, inp = matrices.shape[1:]
    size = torch.view_as_real(matrices).abs().amax().clamp_min(torch.finfo(torch.float64).tiny)
    values, top = [], matrices.real.new_zeros(())
    for part in matrices.split(2**16 // (out * inp) + 1):  # a megabyte, which stays in the cache
        part = torch.view_as_complex(torch.view_as_real(part.contiguous()) / size)  # squares must not overflow
        gram = part.mH @ part if inp <= out else part @ part.mH
        found = gram.real.new_zeros(len(gram))
        found[::7] = torch.linalg.eigvalsh(gram[::7])[:, -1]
        top = torch.maximum(top, found.max())
        below = torch.linalg.cholesky_ex(top * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device) - gram)
        left = below.info.nonzero()[:, 0]
        found[left] = torch.linalg.eigvalsh(gram[left])[:, -1]
        top = torch.maximum(top, found.max())
        values.append(found)
    return torch.cat(values).clamp_min(0).sqrt() * size


def _largest_by_powers(matrices: Tensor) -> tuple[Tensor, float]:
    """Upper bounds of the largest singular values of `matrices`, and the factor by which they are at most too large.

    ``sigma <= |G^p|_F^(1 / 2p) <= n^(1 / 4p) sigma`` with ``G = W^H W``, n columns, and ``p = 2^10``, since the
    Frobenius norm of ``G^p`` is the square root of the sum of n powers ``sigma_i^4p``. On a GPU this takes a hundredth
    of the time of singular value decompositions.
    """
    power, exponent = matrices.mH @ matrices, 0.0
    for _ in range(_SQUARINGS):
        size = torch.linalg.matrix_norm(power, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        power, exponent = (power / size) @ (power / size), 2 * (exponent + size[:, 0, 0].log())
    p, n = 2**_SQUARINGS, matrices.shape[-1]
    return ((exponent + torch.linalg.matrix_norm(power).log()) / (2 * p)).exp(), n ** (1 / (4 * p))
