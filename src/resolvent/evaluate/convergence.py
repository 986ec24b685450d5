"""Convergence: how a solve approaches the solution, and the effect of the start and of more iterations."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from resolvent.data import psnr
from resolvent.evaluate.cost import iterations
from resolvent.evaluate.methods import MAX_STEPS, TOL, Method
from resolvent.evaluate.scans import Case
from resolvent.evaluate.store import Row
from resolvent.mol.equation import Equation
from resolvent.mol.model import MOL
from resolvent.monotone import ScanContext
from resolvent.solve import norm

REFERENCE, REFERENCE_STEPS = 1e-9, 1000
"""Relative accuracy of the reference solve, in double precision, and its maximum number of steps."""
CLOSE = 1e-5
"""Relative distance at which a solve is no longer followed, since rounding in single precision is near."""
MULTIPLES = (1, 2, 3, 4)
"""Numbers of iterations, in multiples of those of a network or of a converged solve."""


@dataclass(frozen=True, eq=False)
class Posed:
    """The equation of a scan, with its solution to a relative 1e-9 in double precision.

    Attributes:
        equation: the equation.
        exact: the same in double precision.
        solution: the reference; None if its solve did not converge: there is then no distance.
        starts: the starts of the solves, by name.
        scale: units of the data divided by units of the model.
        seconds: time to set up the equation.
    """

    equation: Equation
    exact: Equation
    solution: Tensor | None
    starts: dict[str, Tensor]
    scale: Tensor
    seconds: float


def follow(method: Method, case: Case) -> list[Row]:
    """Every step of the solve of a `MOL` from each start; no rows for other methods.

    A row holds the number of the step, the distance ``|x - x*| / |x*|`` of its image to the reference, the residual
    ``|G(x)| / |lam A^H b|`` in double precision, and the seconds since the measurements were passed (without the time
    of these measurements). Start "plain" is the start "sense" without Anderson acceleration: the iteration of the
    theory.
    """
    if not isinstance(method.model, MOL):
        return []
    posed = pose(method.model, case)
    kinds = [*((name, start, 5) for name, start in posed.starts.items()), ("plain", posed.starts["sense"], 0)]
    return [row for name, start, anderson in kinds for row in _trace(posed, name, start, anderson)]


def starts(method: Method, case: Case) -> list[Row]:
    """The image of a `MOL` from each start, solved as for a user: its distance to the reference and the bound.

    `distance` is ``|x - x*| / |x*|``; `within` says whether ``|x - x*| / |x|`` is at most the bound of the certificate,
    which is relative to the returned image.
    """
    if not isinstance(method.model, MOL):
        return []
    posed = pose(method.model, case)
    rows = []
    for name, start in posed.starts.items():
        begin = posed.scale.reshape(-1, *(1,) * (start.ndim - 1)) * start
        recon = method.model.solve(case.y, case.A, tol=TOL, max_steps=MAX_STEPS, noise=case.noise, start=begin)
        x, bound = recon.solution.x, recon.certificate.distance
        distance = _distance(x, posed.solution)
        row: Row = {"start": name, "distance": distance, "certified": bound, "proved": recon.certificate.proved}
        row |= {"converged": recon.solution.converged, "evaluations": recon.solution.evaluations}
        within = None if posed.solution is None else float(norm(x - posed.solution) / norm(x)) <= bound
        rows.append(row | {"within": within})
    return rows


def prolong(method: Method, case: Case) -> list[Row]:
    """The effect of 1 to 4 times the iterations on the image: its change ``|x_k - x_1| / |x_1|``, and its PSNR.

    Iterations are those of an unrolled network (a module that takes `steps`); for a `MOL` they are the evaluations
    until it converges. No rows for other methods, such as networks in which every step has its own weights.
    """
    run = _iterated(method, case)
    if run is None:
        return []
    once, image = run
    images = [image(multiple * once) for multiple in MULTIPLES]
    size = norm(images[0])
    return [
        {
            "multiple": multiple,
            "iterations": multiple * once,
            "change": float(norm(x - images[0]) / size),
            "psnr": psnr(case.reference, x) if bool(torch.isfinite(x.abs()).all()) else math.nan,
        }
        for multiple, x in zip(MULTIPLES, images, strict=True)
    ]


@lru_cache(maxsize=1)
def pose(model: MOL, case: Case) -> Posed:
    """The equation of a scan and its reference solution; the last one is cached."""
    with torch.no_grad():
        began = time.perf_counter()
        equation, scale, context = model.pose(case.y, case.A, case.noise)
        seconds = time.perf_counter() - began
        exact = equation.to_double()
        solved = exact.solve(context.sense.to(torch.complex128), tol=REFERENCE, max_steps=REFERENCE_STEPS)
    solution = solved.x if solved.converged else None
    return Posed(equation, exact, solution, _starts(equation, context), scale, seconds)


def _starts(equation: Equation, context: ScanContext) -> dict[str, Tensor]:
    """Zero, the zero-filled image, SENSE, noise of the size of SENSE, and the start of the score, if it has one."""
    like = context.sense
    noise = torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(0)).to(like.device)
    found = {
        "zero": torch.zeros_like(like),
        "zero-filled": context.zero_filled,
        "sense": like,
        "noise": noise * like.abs().square().mean().sqrt(),
    }
    own = equation.score.start
    return found if own is None else {**found, "own": own}


def _trace(posed: Posed, name: str, start: Tensor, anderson: int) -> list[Row]:
    equation, exact = posed.equation, posed.exact
    unit = float(norm(exact.data))
    rows: list[Row] = []
    clock = _Clock(posed.seconds)

    def look(x: Tensor) -> None:
        clock.stop()
        residual = float(norm(exact.residual(x.to(torch.complex128)))) / unit
        row: Row = {"start": name, "step": len(rows), "distance": _distance(x, posed.solution), "residual": residual}
        rows.append(row | {"elapsed": clock.spent})
        clock.go()

    with torch.no_grad():
        look(start)
    equation.solve(start, tol=CLOSE, max_steps=MAX_STEPS, anderson=anderson, see=look)
    return rows


@dataclass
class _Clock:
    """Seconds between `go` and `stop`, summed."""

    spent: float
    _since: float | None = None

    def go(self) -> None:
        self._since = time.perf_counter()

    def stop(self) -> None:
        if self._since is not None:
            self.spent += time.perf_counter() - self._since
            self._since = None


def _distance(x: Tensor, solution: Tensor | None) -> float | None:
    return None if solution is None else float(norm(x.to(solution.dtype) - solution) / norm(solution))


def _iterated(method: Method, case: Case) -> tuple[int, Callable[[int], Tensor]] | None:
    """The number of iterations of a method, and its image after any number of them."""
    model = method.model
    if isinstance(model, MOL):
        solve = model.solve
        once = solve(case.y, case.A, tol=TOL, max_steps=MAX_STEPS, noise=case.noise).solution.evaluations
        least = torch.finfo(torch.float32).tiny  # never reached: all steps are done

        def solved(count: int) -> Tensor:
            return solve(case.y, case.A, tol=least, max_steps=count, noise=case.noise).image

        return once, solved
    if model is None or not hasattr(model, "steps") or (once := iterations(model)) is None:
        return None
    network = copy.deepcopy(model)

    def unrolled(count: int) -> Tensor:
        network.steps = count  # pyright: ignore[reportArgumentType]
        with torch.no_grad():
            return network(case.y, case.A, case.noise)

    return once, unrolled
