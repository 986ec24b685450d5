"""Convolutions that keep the size of the image: in 2-D those of PyTorch, in 3-D plane by plane."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad
from torch.nn.grad import conv2d_weight

BLOCK = 2**15
"""Pixels that a 3-D convolution computes at once: such a block of planes and its neighbours stay in the cache."""
COPIES = 2**20
"""Largest size in bytes of the copies of the input that PyTorch makes in double precision, one per kernel point."""


def conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1) -> Tensor:
    """Convolution with zero padding that keeps the size; 2-D or 3-D as the kernel; channels last, which is fastest.

    The points of a 2-D kernel may lie `dilation` pixels apart, which enlarges the receptive field at no cost. The bound
    of the norm stays the same, since the symbol is that of the dense kernel at ``dilation * w``.

    A 3-D convolution is a sum over the planes of the kernel, ``sum_d conv2d(x[z + d], W[d])``, for a block of planes z
    at a time. On a CPU this takes a sixth of the time of `conv3d`, and the memory of a block in addition to input and
    output. The gradient consists of the same sums, so it needs no more of either. The gradient of a 3-D kernel cannot
    be differentiated again: with ``create_graph=True`` it raises RuntimeError.
    """
    if weight.ndim == 4:
        x = _channels_last(x).movedim(-1, 1)
        if x.dtype == torch.float64 and x.device.type == "cpu" and not torch.is_grad_enabled():
            return _in_strips(x, weight, bias, dilation)
        convolve = _InPrecision.apply if x.is_cuda else _InPrecision.forward
        return convolve(x, weight, bias, dilation)  # pyright: ignore[reportReturnType]
    if dilation != 1:
        raise ValueError("a 3-D kernel cannot be dilated; dilation must be 1")
    if x.shape[2] <= _planes_at_once(x):
        ((_, planes),) = _blocks(x, weight.shape[2])
        return _sum(planes, weight, bias).unflatten(0, (len(x), -1)).movedim(-1, 1)
    return _PlaneByPlane.apply(x, weight, bias, _Weights.apply(x.detach(), weight, bias))  # pyright: ignore[reportReturnType]


def conv_adjoint(x: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """Adjoint of `conv` without bias: convolution with the flipped, transposed kernel (odd sizes)."""
    return conv(x, weight.transpose(0, 1).flip(tuple(range(2, weight.ndim))), dilation=dilation)


class _InPrecision(torch.autograd.Function):
    """The 2-D convolution and its gradient, both in `_precision`: PyTorch uses what is set when each of them runs."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        with _precision(x):
            return conv2d(x, weight, bias, padding=dilation * (weight.shape[-1] // 2), dilation=dilation)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, ctx.dilation = inputs
        ctx.save_for_backward(x, weight)
        ctx.biases = None if bias is None else [len(bias)]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        padding, asked = ctx.dilation * (weight.shape[-1] // 2), ctx.needs_input_grad[:3]
        how = ([1, 1], [padding] * 2, [ctx.dilation] * 2, False, [0, 0], 1)
        with _precision(grad):
            return *torch.ops.aten.convolution_backward(grad, x, weight, ctx.biases, *how, asked), None


class _PlaneByPlane(torch.autograd.Function):
    """The 3-D convolution, with its gradient in x; `_Weights` has that of kernel and bias."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, weights: Tensor
    ) -> Tensor:
        ctx.save_for_backward(weight)
        shape = len(x), len(weight), *x.shape[2:]
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last_3d)
        last = out.movedim(1, -1)  # the result, out, is no view: callers may overwrite it
        for block, planes in _blocks(x, weight.shape[2]):
            last[:, block] = _sum(planes, weight, bias).unflatten(0, (len(x), -1))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        of_x = conv_adjoint(grad, *ctx.saved_tensors) if ctx.needs_input_grad[0] else None
        return of_x, None, None, grad


class _Weights(torch.autograd.Function):
    """Zeros in the shape of the convolution, whose gradient becomes that of kernel and bias.

    A node of the graph computes all its gradients, needed or not. This node is separate and does not depend on x, so
    it is never visited for a product with the Jacobian in x, of which the adjoint equation needs many.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, weight)
        return x.new_zeros(()).expand(len(x), len(weight), *x.shape[2:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():  # x was detached, so a second derivative would be incomplete
            raise RuntimeError("the gradient of a 3-D kernel cannot be differentiated again (create_graph=True)")
        x, weight = ctx.saved_tensors
        _, of_weight, of_bias = ctx.needs_input_grad
        shape, padding = weight[:, :, 0].shape, weight.shape[-1] // 2
        total = torch.zeros_like(weight)
        if of_weight:
            for (_, planes), (_, (ours,)) in zip(_blocks(x, weight.shape[2]), _blocks(grad, 1), strict=True):
                total += torch.stack([conv2d_weight(p, shape, ours, padding=padding) for p in planes], 2)
        return None, total if of_weight else None, grad.sum((0, 2, 3, 4)) if of_bias else None


def _sum(planes: list[Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
    """``sum_d conv2d(planes[d], W[d])`` of a block, ``(n z, y, x, channel)``."""
    total = conv(planes[0], weight[:, :, 0], bias)
    for d in range(1, weight.shape[2]):
        total = total + conv(planes[d], weight[:, :, d])
    return total.movedim(1, -1)


def _in_strips(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """The 2-D convolution in strips whose `COPIES` stay in the cache: a third of the time."""
    height, width, half = *x.shape[2:], dilation * (weight.shape[-1] // 2)
    rows = max(1, COPIES // (x.element_size() * weight[0].numel() * width))
    images = max(1, rows // height)
    out = x.new_empty(len(x), height, width, len(weight)).movedim(-1, 1)
    for number, first in itertools.product(range(0, len(x), images), range(0, height, rows)):
        some, end = slice(number, number + images), min(first + rows, height)
        rows_seen = _window(x[some], 2, first - half, end + half)
        out[some, :, first:end] = conv2d(rows_seen, weight, bias, padding=(0, half), dilation=dilation)
    return out


def _precision(x: Tensor) -> AbstractContextManager[None]:
    """Use for convolutions on a GPU, which PyTorch by default rounds to ten bits, the setting of matrix products.

    That setting is `torch.set_float32_matmul_precision`, by default "highest".
    """
    if not x.is_cuda:
        return nullcontext()
    rounded = torch.get_float32_matmul_precision() != "highest"
    return torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled,
        benchmark=torch.backends.cudnn.benchmark,
        deterministic=torch.backends.cudnn.deterministic,
        allow_tf32=rounded,
    )


def _planes_at_once(x: Tensor) -> int:
    return max(1, BLOCK // (len(x) * x.shape[-2] * x.shape[-1]))


def _blocks(x: Tensor, size: int) -> Iterator[tuple[slice, list[Tensor]]]:
    """Blocks of planes z of ``(n, channel, z, y, x)``, each with its planes ``z + d`` as images, for all kernel d."""
    last = _channels_last(x)
    depth, half, step = last.shape[1], size // 2, _planes_at_once(x)
    for first in range(0, depth, step):
        end = min(first + step, depth)
        planes = _window(last, 1, first - half, end + half).movedim(-1, 2)  # (n, z, channel, y, x)
        yield slice(first, end), [planes[:, d : d + end - first].flatten(0, 1) for d in range(size)]


def _window(x: Tensor, axis: int, first: int, end: int) -> Tensor:
    """``x[first:end]`` along an axis, with zeros outside x."""
    length = x.shape[axis]
    inside = x.narrow(axis, max(first, 0), min(end, length) - max(first, 0))
    missing = max(-first, 0), max(end - length, 0)
    return pad(inside, (0, 0) * (x.ndim - 1 - axis) + missing) if any(missing) else inside


def _channels_last(x: Tensor) -> Tensor:
    return x.movedim(1, -1).contiguous()  # instead of memory_format=channels_last, which vmap does not support
