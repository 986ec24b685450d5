"""Conjugate gradient for a batch of independent Hermitian positive definite systems."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from resolvent._errors import DataError
from resolvent.solve.solution import Solution, Status
from resolvent.solve.vectors import along, carried, inner, norm

Matrix = Callable[[Tensor], Tensor]

_BELOW = 0.95
"""Quadrature node divided by `smallest`: with rounding, the recurrence may see an eigenvalue a little below it."""


@torch.no_grad()
def conjugate_gradient(
    matvec: Matrix,
    b: Tensor,
    x0: Tensor | None = None,
    *,
    tol: float = 1e-6,
    max_steps: int = 500,
    relative_to: Literal["b", "x"] = "b",
    smallest: float | None = None,
    window: int = 0,
    precondition: Matrix | None = None,
    select: Callable[[Tensor], tuple[Matrix, Matrix | None]] | None = None,
) -> Solution:
    """Solve ``M x = b`` for each sample of the batch, M Hermitian positive definite. No gradient: see `implicit`.

    A sample stops when ``|b - M x| <= tol |b|``, or ``tol |x|`` with ``relative_to="x"`` (for an M whose right-hand
    side is much larger than its solution, and for corrections whose error should be relative to their length). It is
    then frozen: its result does not depend on the other samples of the batch. All tests are relative, so a scaled b
    takes the same steps, and so does a scaled M with its `smallest`.

    With ``smallest = s``, a lower bound of the eigenvalues of M, the test uses a bound of the *error*
    ``|x - M^-1 b|`` instead of the residual. With r the residual, p the direction and a, d the coefficients of the
    iteration (a the step length, d the ratio of successive ``|r|^2``)::

        |x - M^-1 b|^2 <= |r|^2 min(g, |r|^2 / (s |p|^2)) / s,    g <- (g - a) / (s (g - a) + d),  g = 1 / s at first

    in exact arithmetic: the Gauss-Radau quadrature of the energy of the error. ``|r| / s`` also bounds the error, but
    needs up to half as many steps more, since most of a residual lies where M is large. With a preconditioner that
    simpler bound is used: the quadrature would need the smallest eigenvalue of the preconditioned matrix.

    With a preconditioner and a `window` of w steps, an *estimate* may also end a solve. Each step reduces the energy
    ``(e, M e)`` of the error by ``a (r, P r)``. If the last w steps reduced it by S and the w steps before them by T,
    and if the reduction shrinks by the same factor from each window to the next, then the energy w steps ago was::

        s |e|^2 <= (e, M e) ~ S + S (S / T) + S (S / T)^2 + ... = S T / (T - S)

    The residual, to which `Status.CONVERGED` refers, is that of the recurrence, ``r <- r - a M p``; the true one would
    cost another product. By rounding it drifts from ``b - M x`` by a few ``eps |M| |x|``: up to a few
    ``eps cond(M)`` of ``|b|``, and the error up to as much of ``|x|``. A `tol` below that is reported as reached, but
    is not: in single precision with a condition number of 1e4, residuals end near 5e-4, whatever the `tol`.

    A sample breaks down, and keeps the x before that step, if ``(p, M p) <= 0``, or if ``(r, P r)`` exceeds its first
    value more than ``1 / eps`` times: in exact arithmetic it is at most ``cond(P M)`` times that value.

    Args:
        matvec: M applied to a batch ``(batch, ...)``.
        b: right-hand sides ``(batch, ...)``, real or complex.
        x0: start; zero by default. A good start saves steps. Where b is zero the solution is zero, whatever the start.
        tol: relative tolerance.
        max_steps: maximum number of iterations.
        relative_to: what the residual or error is measured against.
        smallest: positive lower bound of the eigenvalues of M; `tol` then bounds the error.
        window: length in steps of the windows of the estimate; 0 to use bounds only.
        precondition: a Hermitian positive definite P near ``M^-1``, applied to a batch. It changes the number of steps,
            but neither the solution nor the meaning of `tol`.
        select: given the indices of the unfinished samples, returns M and P for those alone, so that finished samples
            cost nothing.

    Returns:
        `Solution`; `residuals` holds ``|b - M x|`` of the recurrence; its first row is that of the start.

    Raises:
        DataError: `tol` or `max_steps` is negative or NaN; `smallest` is not positive.

    Source: M. R. Hestenes, E. Stiefel, J. Res. Nat. Bur. Stand. 49:409-436 (1952); for the bound G. Meurant, P. Tichý,
    Numer. Algorithms 62:163-191 (2013), and 82:937-968 (2019) for the one without g; for the energy of the steps Z.
    Strakoš, P. Tichý, Electron. Trans. Numer. Anal. 13:56-80 (2002); for the drift A. Greenbaum, SIAM J. Matrix Anal.
    Appl. 18:535-551 (1997).

    >>> import torch
    >>> b = torch.tensor([[1.0, 2.0]])
    >>> conjugate_gradient(lambda x: torch.tensor([2.0, 4.0]) * x, b).x
    tensor([[0.5000, 0.5000]])
    """
    if not (tol >= 0 and max_steps >= 0 and (smallest is None or smallest > 0)):
        raise DataError(
            f"tol is {tol}, max_steps {max_steps} and smallest {smallest}; the first two may not be negative, and a "
            "bound of eigenvalues is positive. Pass 1e-6, 100 and None, say."
        )
    result = torch.zeros_like(b) if x0 is None else x0.clone()
    r = b.clone() if x0 is None else b - matvec(result)
    scale = norm(b)
    evaluations = int(x0 is not None)
    # Vectors are divided by |b|, and M by a power of two near `smallest`, so that squares neither overflow nor vanish,
    # whatever the units of b and M: the norm of the solution is then about 1 or less.
    finite = torch.isfinite(scale)
    solvable = (scale > 0) & finite
    per = 2.0 ** round(math.log2(smallest)) if smallest else 1.0
    smallest = smallest / per if smallest else None
    unit = along(torch.where(solvable, scale, torch.ones_like(scale)), b)
    result, r = torch.where(along(scale == 0, b), torch.zeros_like(result), (result / unit).mul_(per)), r / unit

    alive = torch.arange(b.shape[0], device=b.device)  # samples still running, in the order of the rows of x
    x, rr = result.clone(), inner(r, r)
    p = r.clone() if precondition is None else precondition(r).clone()  # the preconditioner may return r itself
    rz = rr if precondition is None else inner(r, p)
    quadrature = smallest is not None and precondition is None
    taken = rr.new_full((len(rr), 2 * window), torch.inf)  # reduction of the error energy in each of the last steps
    pp, gauss = rr.clone(), torch.full_like(rr, 1 / (_BELOW * smallest) if smallest else 0.0)
    status = [Status.CONVERGED if good else Status.DIVERGED for good in finite.tolist()]
    steps = torch.zeros(b.shape[0], dtype=torch.int64, device=b.device)
    last = torch.where(scale == 0, scale, rr.sqrt() * scale)
    residuals = [last]

    tiny, eps = torch.finfo(rr.dtype).tiny, torch.finfo(rr.dtype).eps
    limit = rz / eps

    def done() -> Tensor:
        error = rr if smallest is None else rr / smallest**2
        if smallest is not None and quadrature:
            error = rr / smallest * torch.minimum(gauss, rr / (smallest * pp.clamp_min(tiny)))
        elif smallest is not None and window:
            earlier, later = taken[:, :window].sum(1), taken[:, window:].sum(1)
            left = later * earlier / (earlier - later) / smallest
            error = torch.where((later < earlier) & (earlier < torch.inf), torch.minimum(error, left), error)
        return error <= tol**2 * (inner(x, x) if relative_to == "x" else per**2)

    running = ~done() & solvable
    for _ in range(max_steps if len(b) else 0):
        if not bool(running.all()):
            result[alive], keep = x, running.nonzero().flatten()
            if not keep.numel():
                break
            if select is not None:
                matvec, precondition = select(alive[keep])
            else:
                matvec = carried(matvec, p, keep)
                precondition = None if precondition is None else carried(precondition, r, keep)
            state = (alive, x, r, p, rr, rz, limit, pp, gauss, taken)
            alive, x, r, p, rr, rz, limit, pp, gauss, taken = (t[keep] for t in state)
        q = matvec(p)
        evaluations += 1
        curvature = inner(p, q)
        a = rz / curvature
        r = r.addcmul_(along(-a, b), q)
        a = a * per
        z = r if precondition is None else precondition(r)
        rr, before = inner(r, r), rz
        taken = torch.cat([taken[:, 1:], (a * rz).unsqueeze(1)], 1) if window else taken
        rz = rr if precondition is None else inner(r, z)
        sound = (curvature > 0) & (rz <= limit)
        if not bool(sound.all()):
            for row in (~sound).nonzero().flatten().tolist():
                here = bool(torch.isfinite(curvature[row]))
                status[int(alive[row])] = Status.BREAKDOWN if here else Status.DIVERGED
            a, p = torch.where(sound, a, 0.0), torch.where(along(sound, b), p, torch.zeros_like(p))
        x = x.addcmul_(along(a, b), p)
        d = rz / before
        p = p.mul_(along(d, b)).add_(z)
        if smallest is not None and quadrature:  # rounding can make g - a vanish: then the other bound is used
            pp = rr + d**2 * pp
            node = _BELOW * smallest
            gauss = torch.where(gauss > a, (gauss - a) / (node * (gauss - a) + d), torch.inf)
        steps[alive] += sound
        last = last.index_put((alive,), torch.where(sound, rr.sqrt() * scale[alive], last[alive]))
        residuals.append(last)
        running = sound & ~done()
    result[alive] = x
    for row in (running & solvable[alive]).nonzero().flatten().tolist():
        status[int(alive[row])] = Status.MAX_STEPS
    # NaN, so that a caller who looks only at x notices
    result = torch.where(along(finite, b), result * (unit / per), torch.nan)
    return Solution(result, tuple(status), steps, evaluations, torch.stack(residuals))
