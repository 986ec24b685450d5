"""A batch of samples as vectors: inner products, norms, and one number for each sample."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Real inner product ``Re a^H b`` of each sample: ``(batch, ...)`` twice to ``(batch,)``."""
    a, b = as_real(a), as_real(b)
    return torch.linalg.vecdot(a, b)


def norm(a: Tensor) -> Tensor:
    """Euclidean norm of each sample, ``(batch,)``; safe from overflow and underflow."""
    flat = as_real(a)
    scale = flat.abs().amax(1).clamp_min(torch.finfo(flat.dtype).tiny)
    return scale * torch.linalg.vector_norm(flat / scale.unsqueeze(1), dim=1)


def along(v: Tensor, like: Tensor) -> Tensor:
    """One number for each sample, ``(batch,)``, reshaped to multiply ``(batch, ...)``."""
    return v.reshape(-1, *(1,) * (like.ndim - 1))


def carried(f: Callable[[Tensor], Tensor], x: Tensor, keep: Tensor) -> Callable[[Tensor], Tensor]:
    """The map f for the samples `keep` only, if it can only be applied to the whole batch: the others stay at `x`."""
    frozen = x.clone()
    return lambda rows: f(frozen.index_copy(0, keep, rows))[keep]


def as_real(x: Tensor) -> Tensor:
    """Samples as real vectors: ``(batch, n)``."""
    x = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
    return x.reshape(len(x), math.prod(x.shape[1:]))  # -1 would not do for no samples


def as_images(v: Tensor, like: Tensor) -> Tensor:
    """Inverse of `as_real`, for samples of the shape of `like`, complex if it is."""
    shape = (-1, *like.shape[1:])
    return torch.view_as_complex(v.reshape(*shape, 2)) if like.is_complex() else v.reshape(shape)
