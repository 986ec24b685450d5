"""`Study`: which methods are measured on which scans, how, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean

from torch import Tensor, nn

from resolvent._errors import DataError
from resolvent.evaluate import accuracy, convergence, cost, robustness, shift, structure
from resolvent.evaluate.bench import Bench, Task
from resolvent.evaluate.methods import ZERO_FILLED, Method, Regularised, regularised
from resolvent.evaluate.provenance import provenance
from resolvent.evaluate.robustness import ACCELERATIONS, LEVELS, WINDOW, WINDOW_LEVEL, Search
from resolvent.evaluate.scans import Acquisition, Case, Files, Spec
from resolvent.evaluate.shift import SHIFTS, Shift
from resolvent.evaluate.store import Row, Store
from resolvent.evaluate.structure import Insertions
from resolvent.evaluate.tuning import climb

BASELINES = ("zero-filled", "sense", "tv", "wavelet")
"""Classical methods."""
PERTURBATIONS = ("gaussian", "worst", "local", "samples", "structures", "shifts", "empty", "honesty")
"""The perturbations of the data in `Study.robustness`."""


@dataclass(frozen=True)
class Study:
    """The definition of a study.

    Attributes:
        files: the test data.
        acquisitions: how scans are sampled. Convergence, robustness and cost use the first.
        models: networks, from `load_models`.
        baselines: names of `BASELINES`.
        tune: data on whose probes the weights of baselines are chosen; None to use their own rules.
        convergence: follow the solves.
        robustness: perturb the data.
        perturbations: the kinds of perturbation, of `PERTURBATIONS`.
        cost: measure time and memory of a training step.
        probes: number of scans for tuning, convergence and robustness, the middle slices of as many subjects.
        levels: norms of perturbations, relative to the data.
        search: the search for the worst case.
        draws: number of draws of white noise at each level.
        accelerations: accelerations at which robustness is tested.
        insertions: small structures that are inserted into scans.
        shifts: differences between scans.
    """

    files: Files
    acquisitions: Sequence[Acquisition]
    models: Sequence[Method] = ()
    baselines: Sequence[str] = ()
    tune: Files | None = None
    convergence: bool = False
    robustness: bool = False
    perturbations: Sequence[str] = PERTURBATIONS
    cost: bool = False
    probes: int = 4
    levels: Sequence[float] = LEVELS
    search: Search = field(default_factory=Search)
    draws: int = 8
    accelerations: Sequence[float] = ACCELERATIONS
    insertions: Insertions = field(default_factory=Insertions)
    shifts: Sequence[Shift] = SHIFTS

    def quick(self) -> Study:
        """A small version (one probe, two levels, a short search, three accelerations) to check that all runs."""
        return replace(
            self,
            probes=1,
            levels=(0.01, 0.05),
            search=Search(steps=5, starts=1, methods=("pgd",), draws=2),
            draws=2,
            accelerations=(2.0, 4.0, 8.0),
            insertions=Insertions(shapes=("4",), contrasts=(0.5,), draws=1),
            shifts=SHIFTS[:2],
        )

    def run(self, store: Store, say: Callable[[str], None] = lambda text: None) -> dict[str, list[Row]]:
        """Run all measurements that are not yet in the store.

        Args:
            store: results so far; new ones are added to it.
            say: called with progress messages.

        Returns:
            Rows by experiment: "scans" and their summary "accuracy"; with convergence "steps", "starts" and
            "iterations"; with robustness "gaussian", "worst", "local", "samples", "structures", "shifts", "empty" and
            "honesty"; and "cost".

        Raises:
            DataError: there is no method, two have the same name, or a baseline or perturbation is unknown.
        """
        names = [*self.baselines, *(model.name for model in self.models)]
        if not names or len(set(names)) < len(names) or not set(self.baselines) <= set(BASELINES):
            raise DataError(
                f"The methods {', '.join(names) or '(none)'} cannot be compared. Name at least one, each once; "
                f"the classical ones are {', '.join(BASELINES)}."
            )
        if unknown := set(self.perturbations) - set(PERTURBATIONS):
            raise DataError(
                f"There is no perturbation {', '.join(sorted(unknown))}. Name some of {', '.join(PERTURBATIONS)}."
            )
        bench = self._bench(store, say)
        methods = _Chosen(self, bench)
        shown = self._shown.about
        tasks = [
            _task(
                "accuracy",
                accuracy.measure,
                method,
                spec,
                keep=partial(bench.keep, method, spec) if spec.about == shown else None,
            )
            for acquisition in self.acquisitions
            for spec in self.files.specs(acquisition)
            for method in methods.at(acquisition)
        ]
        scans = bench.do(tasks)
        found = {"accuracy": accuracy.summarise(scans), "scans": scans}
        first = self.acquisitions[0]
        probes = self.files.few(first, self.probes)
        if self.convergence:
            found |= self._convergence(bench, methods.at(first), probes)
        if self.robustness:
            found |= self._robustness(bench, methods, probes)
        if self.cost:
            tasks = [_task("cost", cost.measure, method, probes[0]) for method in methods.at(first)]
            found["cost"] = cost.summarise(bench.do(tasks))
        return found

    def example(self, store: Store) -> tuple[Case, dict[str, Tensor]]:
        """The first scan and its images, by the names of the methods; the images are saved beside the results."""
        bench = self._bench(store, lambda text: None)
        spec, methods = self._shown, _Chosen(self, bench).at(self.acquisitions[0])
        return bench.case(spec), {method.name: bench.image(method, spec) for method in methods}

    @property
    def _shown(self) -> Spec:
        """The scan of the example."""
        return self.files.few(self.acquisitions[0], 1)[0]

    def _bench(self, store: Store, say: Callable[[str], None]) -> Bench:
        return Bench(store, {"seed": self.files.seed, **provenance()}, say)

    def _convergence(self, bench: Bench, methods: Sequence[Method], probes: Sequence[Spec]) -> dict[str, list[Row]]:
        networks = [method for method in methods if isinstance(method.model, nn.Module)]
        measures = {"steps": convergence.follow, "starts": convergence.starts, "iterations": convergence.prolong}
        tasks = [
            _task(name, measure, method, spec)
            for spec in probes
            for method in networks
            for name, measure in measures.items()
        ]
        rows = bench.do(tasks)
        return {name: [row for row in rows if row["experiment"] == name] for name in measures}

    def _robustness(self, bench: Bench, chosen: _Chosen, probes: Sequence[Spec]) -> dict[str, list[Row]]:
        methods = chosen.at(self.acquisitions[0])
        tasks = [task for spec in probes for method in methods for task in self._perturbed(method, spec)]
        if "sense" in self.baselines:
            sense = methods[list(self.baselines).index("sense")]
            tasks.append(self._searched("honesty", robustness.honesty, sense, probes[0], WINDOW_LEVEL))
        rows = bench.do([task for task in tasks if task.experiment in self.perturbations])
        found = {name: [r for r in rows if r["experiment"] == name] for name in ("local", "empty", "honesty")}
        for name in ("gaussian", "worst"):
            found[name] = robustness.summarise([row for row in rows if row["experiment"] == name])
        if "structures" in self.perturbations:
            found["structures"] = structure.summarise(bench.do(self._inserted(chosen)))
        if "shifts" in self.perturbations:
            found["shifts"] = shift.summarise(bench.do(self._shifted(methods, probes)))
        if "samples" in self.perturbations:
            tasks = [
                _task("accuracy", accuracy.measure, method, spec)
                for acquisition in self._sampled()
                for spec in self.files.few(acquisition, self.probes)
                for method in chosen.at(acquisition)
            ]
            found["samples"] = robustness.by_acceleration(bench.do(tasks))
        return found

    def _sampled(self) -> list[Acquisition]:
        """The first acquisition at all accelerations of the robustness study at which its scans can be made."""
        every = [replace(self.acquisitions[0], acceleration=R) for R in self.accelerations]
        data = [self.files] if self.tune is None else [self.files, self.tune]
        return [how for how in every if all(spec.possible for of in data for spec in of.few(how, self.probes))]

    def _inserted(self, chosen: _Chosen) -> list[Task]:
        """Small structures at all accelerations."""
        options = [
            {"shape": shape, "contrast": contrast, "draws": self.insertions.draws}
            for shape in self.insertions.shapes
            for contrast in self.insertions.contrasts
        ]
        return [
            _task("structures", structure.structures, method, spec, settings, **settings)
            for acquisition in self._sampled()
            for spec in self.files.few(acquisition, self.probes)
            for method in chosen.at(acquisition)
            for settings in options
        ]

    def _shifted(self, methods: Sequence[Method], probes: Sequence[Spec]) -> list[Task]:
        """Scans with one of the shifts each."""
        return [
            _task("shifts", shift.shifted, method, other, {"shift": one.name}, shift=one)
            for probe in probes
            for one in self.shifts
            for other in [one.spec(probe)]
            if other is not None
            for method in methods
        ]

    def _perturbed(self, method: Method, spec: Spec) -> list[Task]:
        """The perturbations of the data of one scan."""
        noise = partial(_task, "gaussian", robustness.gaussian, method, spec)
        return [
            _task("empty", robustness.empty, method, spec),
            *(noise({"epsilon": e, "draws": self.draws}, epsilon=e, draws=self.draws) for e in self.levels),
            *(self._searched("worst", robustness.worst, method, spec, level) for level in self.levels),
            self._searched("local", robustness.local, method, spec, WINDOW_LEVEL, side=WINDOW),
        ]

    def _searched(
        self, name: str, measure: Callable[..., list[Row]], method: Method, spec: Spec, level: float, **options: int
    ) -> Task:
        settings: Row = {"epsilon": level, **options, **self.search.about}
        return _task(name, measure, method, spec, settings, epsilon=level, search=self.search, **options)


class _Chosen:
    """The methods at each acquisition, with weights that are chosen once for it.

    Args:
        study: defines the methods.
        bench: runs the tasks of the choice.
    """

    def __init__(self, study: Study, bench: Bench) -> None:
        self._study, self._bench = study, bench
        self._found: dict[Acquisition, list[Method]] = {}

    def at(self, acquisition: Acquisition) -> list[Method]:
        """Baselines first, then the models."""
        if acquisition not in self._found:
            baselines = [self._baseline(name, acquisition) for name in self._study.baselines]
            self._found[acquisition] = [*baselines, *self._study.models]
        return self._found[acquisition]

    def _baseline(self, name: str, acquisition: Acquisition) -> Method:
        if name == ZERO_FILLED.name:
            return ZERO_FILLED
        method = regularised(name)
        return method.by_rule() if self._study.tune is None else self._tuned(method, self._study.tune, acquisition)

    def _tuned(self, method: Regularised, files: Files, acquisition: Acquisition) -> Method:
        specs = files.few(acquisition, self._study.probes)

        def score(weight: float) -> float:
            tried = method.at(weight)
            rows = self._bench.do([_task("tuning", accuracy.measure, tried, spec) for spec in specs])
            return fmean(row["psnr"] for row in rows)

        test = {Path(path).resolve() for path in self._study.files.paths}
        names = [Path(p).name + (" (the test data)" if Path(p).resolve() in test else "") for p in files.paths]
        count = f"{len(specs)} scan{'s' if len(specs) > 1 else ''}"
        return method.at(climb(score, method.first), f"{', '.join(names)}: {count}")


def _task(
    experiment: str,
    measure: Callable[..., list[Row]],
    method: Method,
    spec: Spec,
    settings: Row | None = None,
    **options: object,
) -> Task:
    """``measure(method, case, **options)``."""
    return Task(experiment, method, spec, lambda case: measure(method, case, **options), settings or {})
