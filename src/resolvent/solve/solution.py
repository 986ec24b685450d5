"""`Solution`: what a solver returns, whether it converged or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor

from resolvent._types import Brief


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


@dataclass(frozen=True, repr=False)
class Solution(Brief):
    """The result of an iterative solve of a batch of independent problems.

    Attributes:
        x: the solution, or the best finite iterate of the samples that did not converge; shape ``(batch, ...)``.
        sample_status: how each sample ended.
        sample_steps: iterations each sample took, int64 ``(batch,)``.
        evaluations: evaluations of the step (fixed point) or of the matrix (CG), each for the batch still running.
        residuals: residual norm after each iteration, ``(steps, batch)``; a finished sample keeps its last.
        applications: applications of the normal operator, counted by the caller; 0 if unknown.
        seconds: from the start of the solve to the end of each iteration, like `residuals`; empty if not measured.
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
