"""Fixed points of contractions: Picard iteration and safeguarded Anderson acceleration."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from resolvent._errors import DataError
from resolvent.solve.anderson import AndersonHistory
from resolvent.solve.solution import Solution, Status
from resolvent.solve.vectors import along, as_images, as_real, carried, norm

Step = Callable[[Tensor], Tensor]


@torch.no_grad()
def fixed_point(
    step: Step,
    x0: Tensor,
    *,
    tol: float = 1e-3,
    max_steps: int = 100,
    contraction: float | None = None,
    inexact: float = 0.0,
    anderson: int = 5,
    select: Callable[[Tensor], Step] | None = None,
) -> Solution:
    """Solve ``x = T(x)`` for each sample of a batch. No gradient: see `implicit`.

    With a contraction ``|T(x) - T(y)| <= q |x - y|``, a sample stops, and returns ``T(x)``, when the bound of its
    distance to the solution (see `reach`) is at most ``tol |T(x)|``: `tol` bounds the error, not the length of a step.
    Without a known q a sample stops at ``|T(x) - x| <= tol |T(x)|``, which bounds nothing.

    This holds in exact arithmetic. If rounding changes T(x) by e, ``|e| / (1 - q)`` adds to the bound, about
    ``eps |x| / (1 - q)`` for a T of a few operations. This is not known here: a `tol` below it is reported as reached
    once the steps are short enough. In single precision with q = 0.99, errors end near 1e-5, whatever the `tol`.

    Anderson extrapolation is safeguarded. An extrapolated point is kept only if its residual fell to q times the last
    accepted one (below it, without q), as a plain step guarantees. Otherwise the iteration goes back to the plain step,
    so the guarantee of the contraction is preserved.

    Args:
        step: T, applied to a batch ``(batch, ...)``, real or complex.
        x0: start ``(batch, ...)``.
        tol: relative accuracy.
        max_steps: maximum number of evaluations of T.
        contraction: q in [0, 1), or None if unknown.
        inexact: d, the error of the computed T(x) divided by ``|T(x) - x|``.
        anderson: number of earlier points mixed; 0 is Picard iteration.
        select: given the indices of the unfinished samples, returns the step for those alone, so that finished samples
            cost nothing. Without it they are carried along, frozen. Either way they no longer change.

    Returns:
        `Solution`; `residuals` holds ``|T(x) - x|``, `seconds` the time at which each was known.

    Raises:
        DataError: `tol` or `max_steps` is negative or NaN; `contraction` is not in [0, 1).

    Source: theorem of Banach; for the safeguard J. Zhang, B. O'Donoghue, S. Boyd, SIAM J. Optim. 30:3170-3197 (2020).

    >>> import torch
    >>> s = fixed_point(lambda x: 0.5 * x + 1, torch.zeros(1, 3), contraction=0.5, tol=1e-5)
    >>> torch.allclose(s.x, torch.full((1, 3), 2.0), rtol=1e-5), s.status.value
    (True, 'converged')
    """
    if not (tol >= 0 and max_steps >= 0):
        raise DataError(f"tol is {tol} and max_steps {max_steps}; neither may be negative. Pass 1e-3 and 100, say.")
    if contraction is not None and not 0 <= contraction < 1:
        raise DataError(f"contraction is {contraction}, but that of a contraction is in [0, 1). Pass None if unknown.")
    batch = x0.shape[0]
    result = x0.clone()
    status = [Status.MAX_STEPS] * batch
    steps = torch.zeros(batch, dtype=torch.int64, device=x0.device)
    rows: list[Tensor] = []
    last = norm(x0).new_full((batch,), torch.inf)
    began, ends, spent = time.monotonic(), [], torch.zeros(batch, dtype=torch.float64, device=x0.device)

    alive = torch.arange(batch, device=x0.device)  # samples still running, in the order of the rows of x
    x, history = x0.clone(), AndersonHistory(anderson)
    plain = x0.clone()  # T of the last accepted point
    accepted = last.clone()  # residual norm there
    must_accept = torch.ones(batch, dtype=torch.bool, device=x0.device)
    demand = 1.0 if contraction is None else max(contraction, 1e-3)
    distance = 1.0 if contraction is None else reach(contraction, inexact)

    evaluations = 0
    while evaluations < max_steps and alive.numel():
        image = step(x)
        evaluations += 1
        residual = image - x
        length = norm(residual)
        finite = torch.isfinite(length) & torch.isfinite(norm(image))
        last = last.index_put((alive,), length)
        rows.append(last)
        spent = spent.index_fill(0, alive, time.monotonic() - began)
        ends.append(spent)
        steps[alive] += 1

        good = finite & (must_accept | (length <= demand * accepted))
        finished = good & (distance * length <= tol * norm(image))
        hopeless = ~finite & must_accept
        result[alive[good]] = image[good]
        for row in (finished | hopeless).nonzero().flatten().tolist():
            status[int(alive[row])] = Status.CONVERGED if bool(finished[row]) else Status.DIVERGED

        plain = torch.where(along(good, x), image, plain)
        accepted = torch.where(good, length, accepted)
        history.append(as_real(x), as_real(residual), finite)
        if anderson:
            trial = as_images(history.extrapolate(), x)
            sound = good & torch.isfinite(norm(trial))
            x = torch.where(along(sound, x), trial, plain)
            must_accept = ~sound
        else:
            x, must_accept = plain, torch.ones_like(must_accept)
        del image, residual  # as large as x: the next step needs the memory

        running = ~(finished | hopeless)
        if not bool(running.all()):
            keep = running.nonzero().flatten()
            if select is not None and keep.numel():
                step = select(alive[keep])
            elif keep.numel():
                step = carried(step, x, keep)
            alive, x, plain = alive[keep], x[keep], plain[keep]
            accepted, must_accept = accepted[keep], must_accept[keep]
            history.select(keep)
    residuals = torch.stack(rows) if rows else last.new_zeros((0, batch))
    seconds = torch.stack(ends) if ends else spent.new_zeros((0, batch))
    return Solution(result, tuple(status), steps, evaluations, residuals, seconds=seconds)


def reach(q: float, d: float = 0.0) -> float:
    """Bound of ``|T(x) - x*| / |T(x) - x|`` for a contraction T with the constant q, computed with errors.

    Every point obeys ``|x - x*| <= |T(x) - x| / (1 - q)``, hence ``|T(x) - x*| <= q |T(x) - x| / (1 - q)``. If T is
    computed with an error of up to d times the step length, the bound is ``(q (1 + d) / (1 - q) + d) |T(x) - x|``.
    """
    return q * (1 + d) / (1 - q) + d
