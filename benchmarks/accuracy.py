"""Time and work until the image is near the solution: the package, the published iteration, deepinv, unrolled networks.

Each iterate is compared with the solution of the same equation in double precision to 1e-9; meanwhile the clock stands
still. deepinv is compared where it imports: ``PYTHONPATH=src:.ci .venv-neighbours/bin/python -m benchmarks accuracy``
from the environment that ``.ci/neighbours`` makes.
"""

from __future__ import annotations

import torch
from torch import Tensor

import resolvent as rv
from benchmarks import deepinv_peer, published
from benchmarks.problem import PUBLISHED, Case, Clock, make_case, model, table
from benchmarks.watch import Watch
from resolvent.mol.baselines import MoDL
from resolvent.mol.equation import INNER, Work, resolvent
from resolvent.mol.model import starting_point

SIZES = 128, 256
ACCURACIES = (1e-3, 1e-4)
FORMS = {"published iteration": published.as_published, "the same on our operators": published.on_our_operators}


def resolvent_solve(
    mol: rv.MOL, case: Case, exact: Tensor, accuracies: tuple[float, ...], max_steps: int = 100
) -> Watch:
    """The solve of the package, from the measurements on."""
    watch = Watch(exact, accuracies, case.y.device, work := Work())
    equation, _, context = mol.pose(case.y, case.A, case.noise, work)
    start = starting_point(equation, context)
    return watch.run(lambda: equation.solve(start, tol=1e-8, max_steps=max_steps, see=watch.see))


def published_solve(
    form: published.Form,
    mol: rv.MOL,
    case: Case,
    exact: Tensor,
    accuracies: tuple[float, ...],
    max_steps: int = 4000,
) -> Watch:
    """The published iteration, from the linear reconstruction: a better one than the package starts at."""
    iteration = form(mol, case)
    watch = Watch(exact, accuracies, case.y.device, iteration.work)

    def run() -> None:
        x = resolvent(case.A, iteration.lam, iteration.data, shift=1.0, tol=INNER, work=iteration.work)
        for _ in range(max_steps):
            x = iteration.step(x)
            watch.see(x)

    return watch.run(run)


@torch.no_grad()
def measure(
    device: torch.device,
    sizes: tuple[int, ...] = SIZES,
    coils: int = 12,
    accuracies: tuple[float, ...] = ACCURACIES,
) -> str:
    """A table for each size."""
    head = ["network", "solver", "distance to x*", "evaluations", "applications of N", "seconds", "over resolvent"]
    found = []
    for size in sizes:
        rows = compare(make_case(size, coils, device), accuracies)
        found.append(f"{size} x {size}, {coils} coils, R = 6.\n\n{table(head, rows)}")
    if deepinv_peer.deepinv() is None:
        found.append("deepinv does not import in this environment: it is not compared.")
    return "\n\n".join(found)


def compare(case: Case, accuracies: tuple[float, ...]) -> list[list[str]]:
    """The rows of one scan; seconds of the package are the median of three solves."""
    device = case.y.device
    mol = model(PUBLISHED, device)
    exact = rv.solve_reference(mol, case.y, case.A, case.noise)
    ours = median([resolvent_solve(mol, case, exact, accuracies) for _ in range(3)])
    rows = cells(PUBLISHED, "resolvent", ours, accuracies, ours)
    for name, form in FORMS.items():
        rows += cells(PUBLISHED, name, published_solve(form, mol, case, exact, accuracies), accuracies, ours)
    if deepinv_peer.deepinv() is not None:
        default, best = deepinv_peer.compare(mol, case, exact, accuracies)
        rows += cells(PUBLISHED, "deepinv, its defaults", default, accuracies[:1], ours)
        rows += cells(PUBLISHED, "deepinv, best settings", best, accuracies, ours)
    packaged = model("brain-2d", device)
    scale = packaged.pose(case.y, case.A, case.noise)[1].double().reshape(-1, 1, 1)
    exact = rv.solve_reference(packaged, case.y, case.A, case.noise) / scale
    rows += cells("brain-2d", "resolvent", resolvent_solve(packaged, case, exact, accuracies), accuracies)
    unrolled = MoDL(channels=64, depth=5, steps=10).to(device)
    seconds = Clock(device).median(lambda: unrolled(case.y, case.A, case.noise), 1)
    over = seconds / ours.reached[accuracies[0]].seconds
    return [*rows, ["MoDL-10", "unrolled", "none", "10", "", f"{seconds:.2f}", f"{over:.2f}"]]


def median(watches: list[Watch]) -> Watch:
    """The solve that took the median time to the last accuracy; all did the same."""
    return sorted(watches, key=lambda watch: watch.until.seconds)[len(watches) // 2]


def cells(
    network: str, solver: str, watch: Watch, accuracies: tuple[float, ...], ours: Watch | None = None
) -> list[list[str]]:
    """A row for each accuracy, or for the place where it stalls."""
    rows = []
    for accuracy in accuracies:
        spent = watch.reached.get(accuracy)
        distance = f"{accuracy:.0e}" if spent else f"{accuracy:.0e} not reached, stalls at {watch.nearest:.1e}"
        over = f"{spent.seconds / ours.reached[accuracy].seconds:.1f}" if spent and ours else ""
        spent = spent or watch.until
        counts = [str(spent.evaluations), str(spent.applications), f"{spent.seconds:.2f}"]
        rows.append([network, solver, distance, *counts, over])
    return rows
