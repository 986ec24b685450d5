"""Operators of other imaging problems: blur, missing pixels, lower resolution. Compose them with ``@``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resolvent._errors import DataError, ShapeError
from resolvent._types import Image
from resolvent.linop.base import LinearOperator
from resolvent.linop.sense import SENSE


class Blur(LinearOperator):
    """``A x = k * x``, the convolution with a kernel; measurements have the axes of the image.

    ``(A x)[p] = sum_q k[q] x[p - q + h]``, ``h = size // 2`` on every axis: the middle of the kernel is its origin.
    Beyond the border the image is continued periodically (``circular``) or with zeros (``zero``: the convolution is
    done on a grid enlarged by the kernel size, so nothing wraps around).

    Args:
        kernel: real or complex, ``(batch or 1, *size)`` or only ``size``, no larger than the image.
        shape: spatial shape of the image, ``(y, x)`` or ``(z, y, x)``; any axes before it are batch or lead axes.
        boundary: ``circular`` or ``zero``.

    Raises:
        ShapeError: kernel and shape do not fit together.
        DataError: the kernel is not finite, or zero.

    >>> import torch
    >>> A = Blur(torch.ones(3, 3) / 9, (4, 5))
    >>> A(torch.ones(1, 4, 5, dtype=torch.complex64)).real.allclose(torch.ones(4, 5))
    True
    """

    response: Tensor

    def __init__(self, kernel: Tensor, shape: tuple[int, ...], *, boundary: str = "circular") -> None:
        super().__init__()
        ndim = len(shape)
        if boundary not in ("circular", "zero"):
            raise DataError(f"There is no boundary {boundary!r}. Use 'circular' or 'zero'.")
        kernel = kernel[None] if kernel.ndim == ndim else kernel
        size = tuple(kernel.shape[1:])
        if ndim not in (2, 3) or len(size) != ndim or any(k > n for k, n in zip(size, shape, strict=True)):
            raise ShapeError(
                f"the kernel has axes {size} and the image {tuple(shape)}. "
                "Pass a kernel ([batch,] *size) no larger than the 2 or 3 spatial axes of the image."
            )
        if not bool(torch.isfinite(torch.view_as_real(kernel + 0j)).all()) or not bool((kernel != 0).any()):
            raise DataError("the kernel is zero everywhere or not finite. Pass the response of the camera to a point.")
        self.shape, self.boundary = tuple(shape), boundary
        self._axes = tuple(range(-ndim, 0))
        self._grid = self.shape
        if boundary == "zero":
            self._grid = tuple(n + k - 1 for n, k in zip(shape, size, strict=True))
        padded = kernel.new_zeros(len(kernel), *self._grid)
        padded[(slice(None), *(slice(k) for k in size))] = kernel
        origin = [-(k // 2) for k in size]
        self.register_buffer("response", torch.fft.fftn(torch.roll(padded, origin, self._axes), dim=self._axes))

    def forward(self, x: Image) -> Tensor:
        """``A x``, ``(batch, *lead, *spatial)``."""
        return self._filtered(x, self.response)

    def adjoint(self, y: Tensor) -> Image:
        """``A^H y``: the correlation with the kernel."""
        return self._filtered(y, self.response.conj())

    def normal(self, x: Image) -> Image:
        """``A^H A x``, with one filter where the border is periodic."""
        if self.boundary == "zero":
            return self.adjoint(self(x))
        return self._filtered(x, self.response.abs().square())

    @property
    def norm_bound(self) -> Tensor:
        """``max |k^|`` over the frequencies of the grid: proved, and exact for a periodic border."""
        return _rounded(self.response.abs().flatten(1).amax(1), self.response)

    def _filtered(self, x: Tensor, response: Tensor) -> Tensor:
        _demand_shape(x, self.shape)
        response = response.reshape(len(response), *(1,) * (x.ndim - 1 - len(self.shape)), *self._grid)
        spectrum = torch.fft.fftn(x, s=self._grid, dim=self._axes)  # zeros beyond the image, if the grid is larger
        return torch.fft.ifftn(spectrum * response, dim=self._axes)[(..., *(slice(n) for n in self.shape))]


class Sampling(LinearOperator):
    """``A x = mask x``: missing pixels (or any missing measurements). With ``@`` it masks the samples of others.

    The image is to be filled in where the mask is zero, so `support` is None: every pixel may be filled.

    Args:
        mask: real weights in [0, 1], 1 where measured: ``(batch or 1, *axes)``, with the axes of x, or 1; or only
            ``(y, x)``, for any x that ends in these axes.

    Raises:
        DataError: the mask has values outside [0, 1], or is zero everywhere.

    >>> import torch
    >>> Sampling(torch.eye(2))(torch.ones(1, 2, 2, dtype=torch.complex64)).real.tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        if mask.is_complex() or not bool(((mask >= 0) & (mask <= 1)).all()) or not bool((mask > 0).any()):
            raise DataError("mask has values outside [0, 1], or only zeros. Pass 1 where a pixel was measured, else 0.")
        mask = mask if mask.is_floating_point() else mask.float()
        self.register_buffer("mask", mask if mask.ndim > 2 else mask[None])

    def forward(self, x: Tensor) -> Tensor:
        """``mask x``."""
        self._check(x)
        return self.mask * x

    def adjoint(self, y: Tensor) -> Tensor:
        """``mask y``."""
        return self(y)

    @property
    def elementwise(self) -> bool:
        """True: the mask multiplies each number."""
        return True

    def measured(self, y: Tensor) -> Tensor:
        """``y`` where the mask is not zero."""
        return (self.mask != 0) * y

    def normal(self, x: Tensor) -> Tensor:
        """``mask^2 x``."""
        self._check(x)
        return self.mask.square() * x

    @property
    def norm_bound(self) -> Tensor:
        """The largest weight: exact."""
        return self.mask.flatten(1).amax(1).double()

    def _check(self, x: Tensor) -> None:
        pairs = zip(reversed(x.shape), reversed(self.mask.shape), strict=False)
        own = self.mask.shape[0] > 1  # one mask for each sample: then its first axis must be the batch
        fits = (x.ndim == self.mask.ndim if own else x.ndim >= self.mask.ndim) and all(m in (1, n) for n, m in pairs)
        if not fits:
            raise ShapeError(
                f"the mask has axes {tuple(self.mask.shape)} but what it samples has {tuple(x.shape)}. "
                "Pass a mask (batch or 1, *axes) whose axes are those, or 1."
            )


class Still(LinearOperator):
    """``A x = (x, ..., x) / sqrt(frames)``: one image for all frames of a series. Compose it with a scanner by ``@``.

    An isometry, ``A^H A = I``. The frames lie along the third axis from the end, which has length one in x.

    Args:
        frames: number of frames.

    >>> import torch
    >>> Still(4)(torch.ones(1, 1, 2, 3, dtype=torch.complex64)).shape
    torch.Size([1, 4, 2, 3])
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        """``(x, ..., x) / sqrt(frames)``."""
        return (x / math.sqrt(self.frames)).repeat_interleave(self.frames, -3)

    def adjoint(self, y: Tensor) -> Tensor:
        """The sum over the frames ``/ sqrt(frames)``."""
        return y.sum(-3, keepdim=True) / math.sqrt(self.frames)

    @property
    def norm_bound(self) -> Tensor:
        """1, apart from rounding: proved."""
        return _rounded(torch.ones(1, device="cpu"), torch.ones(1, device="cpu"))


class Decimation(LinearOperator):
    """``A x``: every `factor`-th pixel along each spatial axis, from the first.

    ``Decimation(...) @ Blur(...)`` is a camera of lower resolution; inverting it is super-resolution.

    Args:
        factor: at least 1.
        shape: spatial shape of the image.

    Raises:
        DataError: the factor is below 1.

    >>> import torch
    >>> A = Decimation(2, (4, 5)) @ Blur(torch.ones(2, 2) / 4, (4, 5))
    >>> A(torch.ones(1, 4, 5, dtype=torch.complex64)).shape
    torch.Size([1, 2, 3])
    """

    def __init__(self, factor: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        if factor < 1:
            raise DataError(f"factor is {factor}. Pass 1 for every pixel, 2 for every second.")
        self.factor, self.shape = factor, tuple(shape)
        self._kept = (..., *(slice(None, None, factor) for _ in shape))

    def forward(self, x: Image) -> Tensor:
        """``A x``, ``(batch, *lead, *coarse)``, ``coarse = ceil(shape / factor)``."""
        _demand_shape(x, self.shape)
        return x[self._kept]

    def adjoint(self, y: Tensor) -> Image:
        """``A^H y``: y on the pixels that were kept, zero between them."""
        _demand_shape(y, tuple(math.ceil(n / self.factor) for n in self.shape))
        x = y.new_zeros(*y.shape[: -len(self.shape)], *self.shape)
        x[self._kept] = y
        return x

    @property
    def norm_bound(self) -> Tensor:
        """1: exact."""
        return torch.ones(1, dtype=torch.float64, device="cpu")


def fourier(mask: Tensor) -> SENSE:
    """Single-coil Fourier sampling: `SENSE` with one coil of uniform sensitivity.

    Args:
        mask: ``(batch or 1, *spatial)``, spatial of 2 or 3 axes, 1 where measured.

    >>> import torch
    >>> fourier(torch.ones(1, 4, 6)).n_coils
    1
    """
    ndim = max(2, mask.ndim - 1)
    dtype = torch.complex128 if mask.dtype == torch.float64 else torch.complex64
    ones = torch.ones(1, 1, *mask.shape[-ndim:], dtype=dtype, device=mask.device)
    return SENSE(ones, mask, ndim=ndim)


def _demand_shape(x: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(x.shape[-len(shape) :]) != shape or x.ndim <= len(shape):
        raise ShapeError(f"an array has axes {tuple(x.shape)}, the operator wants (batch, *lead, {shape}). Pass those.")


def _rounded(bound: Tensor, like: Tensor) -> Tensor:
    """The bound in double precision, with a margin for the rounding of the operator."""
    return bound.detach().double() * (1 + 8 * torch.finfo(like.dtype).eps)
