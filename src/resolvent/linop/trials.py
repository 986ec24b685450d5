"""Tests of an operator at random vectors: they can refute what it claims, and prove nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from resolvent.linop.base import LinearOperator


def adjoint_error(A: LinearOperator, x: Tensor, y: Tensor) -> Tensor:
    """``|<A x, y> - <x, A^H y>|`` divided by the larger of ``|A x| |y|`` and ``|x| |A^H y|``, ``(batch,)``.

    Args:
        A: the operator.
        x: a random image.
        y: random measurements that are NOT masked.
    """
    there, back = A(x), A.adjoint(y)
    difference = (_inner(there, y) - _inner(x, back)).abs()
    size = torch.maximum(_norm(there) * _norm(y), _norm(x) * _norm(back))
    return difference / size.clamp_min(torch.finfo(size.dtype).tiny)


def norm_found(A: LinearOperator, x: Tensor, steps: int) -> Tensor:
    """Lower bound of ``|A|``: the largest ``|A x|``, ``|x| = 1``, in power iterations, ``(batch,)``, double precision.

    It holds whatever the adjoint is.

    Args:
        A: the operator.
        x: a random image, the start.
        steps: number of iterations, each with one application of A and one of the adjoint.
    """
    found = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for _ in range(steps):
        x = x / _norm(x).clamp_min(torch.finfo(x.dtype).tiny).reshape(-1, *(1,) * (x.ndim - 1))
        there = A(x)
        found = torch.maximum(found, _norm(there).double())
        x = A.adjoint(there)
    return found


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1))


def _norm(t: Tensor) -> Tensor:
    return torch.linalg.vector_norm(t.flatten(1), dim=1)
