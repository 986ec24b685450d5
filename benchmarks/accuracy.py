"""Time and work until the image is near the solution: the package, the published iteration, and an unrolled network.

Each iterate is compared with the solution of the same equation in double precision to 1e-9; meanwhile the clock stands
still.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

import resolvent as rv
from benchmarks import published
from benchmarks.problem import PUBLISHED, Case, Clock, make_case, model, table
from resolvent.mol.baselines import MoDL
from resolvent.mol.equation import INNER, Work
from resolvent.mol.model import starting_point
from resolvent.solve import fixed_point, norm

ACCURACIES = (1e-3, 1e-4)


@dataclass(frozen=True)
class Reached:
    """What was spent from the measurements to the first iterate of an accuracy."""

    seconds: float
    evaluations: int
    applications: int


class _Enough(Exception):
    """The last accuracy is reached."""


class Watch:
    """Sees every iterate, and notes when it first is as near to x* as each accuracy says."""

    def __init__(self, exact: Tensor, accuracies: tuple[float, ...], device: torch.device, work: Work) -> None:
        self._exact, self._left, self._work = exact, list(accuracies), work
        self._clock = Clock(device)
        self._began, self._steps = self._clock(), 0
        self.reached: dict[float, Reached] = {}
        self.error = float("inf")

    def see(self, x: Tensor) -> None:
        """Look at the iterate of a step."""
        self._steps += 1
        with self._clock.stopped():
            self.error = float((norm(x.to(self._exact.dtype) - self._exact) / norm(self._exact)).max())
        while self._left and self.error <= self._left[0]:
            spent = Reached(self._clock() - self._began, self._steps, self._work.applications)
            self.reached[self._left.pop(0)] = spent
        if not self._left:
            raise _Enough

    def run(self, solve: Callable[[], object]) -> Watch:
        """Let something solve until the last accuracy is reached, or until it ends by itself."""
        with suppress(_Enough):
            solve()
        return self


def resolvent_solve(
    mol: rv.MOL, case: Case, exact: Tensor, accuracies: tuple[float, ...], max_steps: int = 100
) -> Watch:
    """The solve of the package, from the measurements on."""
    watch = Watch(exact, accuracies, case.y.device, work := Work())
    equation, _, context = mol.pose(case.y, case.A, case.noise, work)
    take = equation.steps()

    def step(x: Tensor) -> Tensor:
        image = take(x)
        watch.see(image)
        return image

    start, q = starting_point(equation, context), equation.contraction
    return watch.run(lambda: fixed_point(step, start, tol=1e-8, max_steps=max_steps, contraction=q, inexact=INNER))


def published_solve(
    mol: rv.MOL, case: Case, exact: Tensor, accuracies: tuple[float, ...], max_steps: int = 4000
) -> Watch:
    """The published iteration, from the linear reconstruction that the package starts at, too."""
    watch = Watch(exact, accuracies, case.y.device, work := Work())
    equation, _, context = mol.pose(case.y, case.A, case.noise, work)

    def run() -> None:
        x = context.sense
        for _ in range(max_steps):
            x = published.step(equation, x)
            watch.see(x)

    return watch.run(run)


@torch.no_grad()
def measure(device: torch.device, size: int = 128, coils: int = 12, accuracies: tuple[float, ...] = ACCURACIES) -> str:
    """The table."""
    case, rows = make_case(size, coils, device), []
    mol = model(PUBLISHED, device)
    exact = rv.solve_reference(mol, case.y, case.A, case.noise)
    ours = resolvent_solve(mol, case, exact, accuracies)
    theirs = published_solve(mol, case, exact, accuracies)
    for accuracy in accuracies:
        unit = ours.reached[accuracy].seconds
        for name, watch in (("resolvent", ours), ("published iteration", theirs)):
            rows.append([PUBLISHED, name, f"{accuracy:.0e}", *_cells(watch, accuracy, unit)])
    unit = ours.reached[accuracies[0]].seconds
    packaged = model("brain-2d", device)
    scale = packaged.pose(case.y, case.A, case.noise)[1].double().reshape(-1, 1, 1)
    exact = rv.solve_reference(packaged, case.y, case.A, case.noise) / scale
    watch = resolvent_solve(packaged, case, exact, accuracies)
    rows += [["brain-2d", "resolvent", f"{accuracy:.0e}", *_cells(watch, accuracy, None)] for accuracy in accuracies]
    unrolled = MoDL(channels=64, depth=5, steps=10).to(device)
    seconds = Clock(device).median(lambda: unrolled(case.y, case.A, case.noise), 1)
    rows.append(["MoDL-10", "unrolled", "none", "10", "", f"{seconds:.2f}", f"{seconds / unit:.2f}"])
    head = ["network", "solver", "distance to x*", "evaluations", "applications of N", "seconds", "over resolvent"]
    return f"{size} x {size}, {coils} coils, R = 6.\n\n{table(head, rows)}"


def _cells(watch: Watch, accuracy: float, unit: float | None) -> list[str]:
    spent = watch.reached.get(accuracy)
    if spent is None:
        return ["not reached", "", "", f"stalls at {watch.error:.0e}"]
    over = "" if unit is None else f"{spent.seconds / unit:.1f}"
    return [str(spent.evaluations), str(spent.applications), f"{spent.seconds:.2f}", over]
