"""`Bench`: runs the tasks of a study, each once, and reports progress."""

from __future__ import annotations

import json
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resolvent.data.io.output import whole
from resolvent.evaluate.methods import Method
from resolvent.evaluate.scans import Case, Spec
from resolvent.evaluate.store import Row, Store

KEPT = 4
"""Number of scans kept in memory."""


@dataclass(frozen=True, eq=False)
class Task:
    """One method on one scan.

    Attributes:
        experiment: name of the experiment.
        method: the method.
        spec: the scan.
        work: the measurement.
        settings: settings of the experiment, which go into the rows.
    """

    experiment: str
    method: Method
    spec: Spec
    work: Callable[[Case], list[Row]]
    settings: Row = field(default_factory=dict)

    @property
    def kind(self) -> tuple[str, str]:
        """The kind of the task; tasks of one kind take about the same time."""
        return self.experiment, self.method.name

    @property
    def text(self) -> str:
        """A description of the task for a person."""
        how = self.spec.acquisition
        scan = f"{self.spec.subject.name}/{self.spec.number}, {how.mask} R = {how.acceleration:g}"
        settings = "".join(f", {name} {value:g}" for name, value in self.settings.items() if name == "epsilon")
        return f"{self.experiment}{settings}: {self.method.name} on {scan}"


class Bench:
    """Runs tasks that are not yet in the store, and caches the most recent scans.

    Args:
        store: results.
        made: columns that every row has: seed, version, commit.
        say: called with a progress message before each task.
    """

    def __init__(self, store: Store, made: Row, say: Callable[[str], None]) -> None:
        self._store, self._made, self._say = store, made, say
        self._cases: OrderedDict[str, Case] = OrderedDict()

    def row(self, task: Task) -> Row:
        """Everything that the rows of a task depend on; these are also their first columns."""
        about = {"experiment": task.experiment, **task.method.about, **task.spec.about}
        return {**about, **task.settings, **self._made}

    def do(self, tasks: Sequence[Task]) -> list[Row]:
        """The rows of all tasks, in their order."""
        rows = [self.row(task) for task in tasks]
        missing = [(task, row) for task, row in zip(tasks, rows, strict=True) if row not in self._store]
        pace = Pace(Counter(task.kind for task, _ in missing))
        for task, row in missing:
            self._say(f"{pace.text}{task.text}")
            began = time.perf_counter()
            self._store.add(row, task.work(self.case(task.spec)))
            pace.took(task.kind, time.perf_counter() - began)
        return [found for row in rows for found in self._store[row]]

    def image(self, method: Method, spec: Spec) -> Tensor:
        """The image of a scan: the saved one, else computed now."""
        path = self._path(method, spec)
        if not path.exists():
            case = self.case(spec)
            self.keep(method, spec, method.reconstruct(case.y, case.A, case.noise)[0])
        return torch.from_numpy(np.load(path))

    def keep(self, method: Method, spec: Spec, image: Tensor) -> None:
        """Save the image of a scan in a file."""
        path = str(self._path(method, spec))
        with whole(path, [path]) as drafts:
            np.save(drafts[0], image.numpy(force=True))

    def _path(self, method: Method, spec: Spec) -> Path:
        return self._store.beside(self.row(Task("image", method, spec, lambda case: [])), ".npy")

    def case(self, spec: Spec) -> Case:
        """The scan, from the cache of recent ones or made now."""
        name = json.dumps(spec.about)
        if name not in self._cases:
            self._cases[name] = spec.make()
        self._cases.move_to_end(name)
        while len(self._cases) > KEPT:
            self._cases.popitem(last=False)
        return self._cases[name]


class Pace:
    """Progress: tasks done, their rate, and the remaining time, from the mean time of each kind of task.

    Args:
        left: number of tasks of each kind.
    """

    def __init__(self, left: Counter[tuple[str, str]]) -> None:
        self._left = Counter(left)
        self._seconds: dict[tuple[str, str], list[float]] = {}
        self._total = sum(left.values())

    def took(self, kind: tuple[str, str], seconds: float) -> None:
        """Record that a task is done."""
        self._left[kind] -= 1
        self._seconds.setdefault(kind, []).append(seconds)

    @property
    def remaining(self) -> float | None:
        """Seconds left; None before any task is done. Kinds without a finished task count as the mean of all."""
        times = [t for of in self._seconds.values() for t in of]
        if not times:
            return None
        anything = sum(times) / len(times)
        mean = {kind: sum(of) / len(of) for kind, of in self._seconds.items()}
        return sum(count * mean.get(kind, anything) for kind, count in self._left.items())

    @property
    def text(self) -> str:
        """``12 of 96 · 30 a minute · 3 min left · ``; nothing for a single task."""
        done = self._total - sum(self._left.values())
        if self._total == 1:
            return ""
        if self.remaining is None:
            return f"{done} of {self._total} · "
        spent = sum(sum(of) for of in self._seconds.values())
        rate = 60 * done / max(spent, 1e-9)
        return f"{done} of {self._total} · {rate:.3g} a minute · {_span(self.remaining)} left · "


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
