"""A watch over the iterates of a solver: what was spent until each accuracy was reached."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.problem import Clock
from resolvent.mol.equation import Work
from resolvent.solve import norm


@dataclass(frozen=True)
class Reached:
    """What was spent from the measurements to the first iterate of an accuracy."""

    seconds: float
    evaluations: int
    applications: int


class _Enough(Exception):
    """The last accuracy is reached."""


class Watch:
    """Sees every iterate, and notes when it first is as near to x* as each accuracy says, and the nearest of all.

    Attributes:
        reached: what was spent until each accuracy that was reached.
        nearest: the least distance to x*, a tenth at least below any before it.
        until: what was spent until there.
    """

    def __init__(self, exact: Tensor, accuracies: tuple[float, ...], device: torch.device, work: Work) -> None:
        self._exact, self._left, self._work = exact, list(accuracies), work
        self._clock = Clock(device)
        self._began, self._steps = self._clock(), 0
        self.reached: dict[float, Reached] = {}
        self.nearest, self.until = float("inf"), Reached(0.0, 0, 0)

    def see(self, x: Tensor) -> None:
        """Look at the iterate of a step."""
        self._steps += 1
        with self._clock.stopped():
            error = float((norm(x.to(self._exact.dtype) - self._exact) / norm(self._exact)).max())
        spent = Reached(self._clock() - self._began, self._steps, self._work.applications)
        if error < 0.9 * self.nearest:
            self.nearest, self.until = error, spent
        while self._left and error <= self._left[0]:
            self.reached[self._left.pop(0)] = spent
        if not self._left:
            raise _Enough

    def run(self, solve: Callable[[], object]) -> Watch:
        """Let something solve until the last accuracy is reached, or until it ends by itself."""
        with suppress(_Enough):
            solve()
        return self
