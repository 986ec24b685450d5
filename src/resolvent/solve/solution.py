"""`Solution`: what a solver returns, whether it converged or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor


class Status(str, Enum):
    """How the solve of a sample ended; the value is the message, ordered from best to worst."""

    CONVERGED = "converged"
    INACCURATE = (
        "not converged: the certified distance is above tol, mostly because of rounding; loosen tol or lower lam"
    )
    MAX_STEPS = "not converged: the step limit was reached; raise max_steps or loosen tol"
    BREAKDOWN = "stopped: the operator is not positive definite in the working precision; pass a Hermitian positive one"
    DIVERGED = "stopped: the iterates left the finite numbers; scale the data, or use a contracting step"

    def __str__(self) -> str:
        """The message."""
        return self.value


@dataclass(frozen=True)
class Solution:
    """The result of an iterative solve of a batch of independent problems.

    Attributes:
        x: the solution, or the best finite iterate of the samples that did not converge; shape ``(batch, ...)``.
        sample_status: how each sample ended.
        sample_steps: iterations each sample took, int64 ``(batch,)``.
        evaluations: evaluations of the step (fixed point) or of the matrix (CG), each for the batch still running.
        residuals: residual norm after each iteration, ``(steps, batch)``; a finished sample keeps its last.
        applications: applications of the normal operator, counted by whoever owns it; 0 where it is unknown.
        seconds: from the start of the solve to the end of each iteration, like `residuals`; empty where nobody looked.
    """

    x: Tensor
    sample_status: tuple[Status, ...]
    sample_steps: Tensor
    evaluations: int
    residuals: Tensor
    applications: int = 0
    seconds: Tensor = field(default_factory=lambda: torch.zeros(0, 0))

    @property
    def status(self) -> Status:
        """The worst status of the batch."""
        order = list(Status)
        return max(self.sample_status, key=order.index, default=Status.CONVERGED)

    @property
    def converged(self) -> bool:
        """Whether every sample converged."""
        return self.status is Status.CONVERGED

    @property
    def steps(self) -> int:
        """Iterations of the slowest sample."""
        return int(self.sample_steps.max()) if self.sample_steps.numel() else 0


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
    """One number a sample, ``(batch,)``, shaped to multiply ``(batch, ...)``."""
    return v.reshape(-1, *(1,) * (like.ndim - 1))


def carried(f: Callable[[Tensor], Tensor], x: Tensor, keep: Tensor) -> Callable[[Tensor], Tensor]:
    """The map f of the samples `keep` where it can only be applied to all: the others ride along at `x`."""
    frozen = x.clone()
    return lambda rows: f(frozen.index_copy(0, keep, rows))[keep]


def as_real(x: Tensor) -> Tensor:
    """Samples as real vectors: ``(batch, n)``."""
    return (torch.view_as_real(x.resolve_conj()) if x.is_complex() else x).reshape(x.shape[0], -1)


def as_images(v: Tensor, like: Tensor) -> Tensor:
    """Inverse of `as_real`, for samples of the shape and the kind of `like`."""
    shape = (-1, *like.shape[1:])
    return torch.view_as_complex(v.reshape(*shape, 2)) if like.is_complex() else v.reshape(shape)
