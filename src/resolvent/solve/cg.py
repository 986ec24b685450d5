"""Conjugate gradient for a batch of independent Hermitian positive definite systems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from resolvent.solve.solution import Solution, Status, along, inner, norm


def conjugate_gradient(
    matvec: Callable[[Tensor], Tensor],
    b: Tensor,
    x0: Tensor | None = None,
    *,
    tol: float = 1e-6,
    max_steps: int = 500,
    relative_to: Literal["b", "x"] = "b",
) -> Solution:
    """Solve ``M x = b`` for each sample of the batch, M Hermitian positive definite.

    A sample stops when ``|b - M x| <= tol |b|``, or ``tol |x|`` with ``relative_to="x"`` (for an M whose right-hand
    side is much larger than its solution, and for corrections that need only be as accurate as they are long). It is
    then frozen: its numbers do not depend on the samples beside it. All tests are relative, so a scaled b takes the
    same steps.

    Args:
        matvec: M applied to a batch ``(batch, ...)``.
        b: right-hand sides ``(batch, ...)``, real or complex.
        x0: start; zero by default. A good start saves steps. Where b is zero the solution is zero, whatever the start.
        tol: relative tolerance.
        max_steps: limit of iterations.
        relative_to: what the residual is measured against.

    Returns:
        `Solution`; `residuals` holds ``|b - M x|`` of the recurrence, the first row that of the start.

    Source: M. R. Hestenes, E. Stiefel, J. Res. Nat. Bur. Stand. 49:409-436 (1952).

    >>> import torch
    >>> b = torch.tensor([[1.0, 2.0]])
    >>> conjugate_gradient(lambda x: torch.tensor([2.0, 4.0]) * x, b).x
    tensor([[0.5000, 0.5000]])
    """
    x = torch.zeros_like(b) if x0 is None else x0.clone()
    r = b.clone() if x0 is None else b - matvec(x)
    scale = norm(b)
    evaluations = int(x0 is not None)
    # Vectors are divided by |b| so that squares neither overflow nor vanish, whatever the units of b.
    solvable = (scale > 0) & torch.isfinite(scale)
    unit = along(torch.where(solvable, scale, torch.ones_like(scale)), b)
    x, r = torch.where(along(scale == 0, b), torch.zeros_like(x), x / unit), r / unit
    p, rr = r.clone(), inner(r, r)
    length = inner(x, x)
    target = torch.ones_like(rr)

    def done() -> Tensor:
        return rr <= tol**2 * (length if relative_to == "x" else target)

    running = ~done() & solvable
    status = [Status.CONVERGED if good else Status.DIVERGED for good in torch.isfinite(scale).tolist()]
    steps = torch.zeros(b.shape[0], dtype=torch.int64, device=b.device)
    residuals = [torch.where(scale == 0, scale, rr.sqrt() * scale)]
    for _ in range(max_steps):
        if not bool(running.any()):
            break
        q = matvec(p)
        evaluations += 1
        curvature = inner(p, q)
        broken = running & ~(curvature > 0)
        for i in broken.nonzero().flatten().tolist():
            status[i] = Status.BREAKDOWN if bool(torch.isfinite(curvature[i])) else Status.DIVERGED
        running = running & ~broken
        zero = torch.zeros_like(rr)
        alpha = along(torch.where(running, rr / curvature, zero), b)
        keep = along(running, b)
        x = torch.where(keep, x + alpha * p, x)
        r = torch.where(keep, r - alpha * q, r)
        rr_new = torch.where(running, inner(r, r), rr)
        beta = torch.where(running, rr_new / rr, zero)
        p = r + along(beta, b) * p
        rr, length = rr_new, inner(x, x)
        steps += running
        residuals.append(rr.sqrt() * scale)
        running = running & ~done()
    for i in running.nonzero().flatten().tolist():
        status[i] = Status.MAX_STEPS
    x = torch.where(along(torch.isfinite(scale), x), x * unit, torch.nan)  # a caller that sees x alone must see it, too
    return Solution(x, tuple(status), steps, evaluations, torch.stack(residuals))
