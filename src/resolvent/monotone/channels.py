"""Conversion of complex images to the two real channels of a network, and back; it is done only here."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def to_channels(x: Tensor, ndim: int) -> Tensor:
    """Complex ``(batch, *fold, *spatial)`` to real ``(batch * fold, 2, *spatial)``, channel 0 real, 1 imaginary.

    `ndim` is the number of spatial axes of the network; the axes before them are independent images to it. Nothing
    is copied: the result has the channels-last memory format, in which convolutions run fastest.
    """
    spatial = x.shape[-ndim:]
    return torch.view_as_real(x.resolve_conj()).reshape(-1, *spatial, 2).movedim(-1, 1)


def from_channels(z: Tensor, like: Tensor) -> Tensor:
    """Inverse of `to_channels`: the complex image with the axes of `like`."""
    return torch.view_as_complex(z.movedim(1, -1).contiguous()).reshape(like.shape)


def per_sample(c: Tensor, batch: int) -> Tensor:
    """Feature maps ``(batch * fold, channel, *spatial)`` as ``(batch, fold, channel, *spatial)``."""
    return c.unflatten(0, (batch, -1))


def sizes(ndim: int, size: int) -> tuple[int, ...]:
    """The shape of a cubic kernel."""
    return (size,) * ndim


def kernel_init(out: int, inp: int, ndim: int, size: int = 3, gain: float = 1.0) -> Tensor:
    """A random convolution kernel ``(out, inp, size, ...)``, Kaiming uniform with that gain."""
    limit = gain * math.sqrt(3 / (inp * size**ndim))
    return torch.empty(out, inp, *sizes(ndim, size)).uniform_(-limit, limit)
