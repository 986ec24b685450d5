"""Cost: seconds of a reconstruction; seconds and memory of a training step, relative to the unrolled network."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from resolvent.evaluate.methods import Method
from resolvent.evaluate.scans import Case
from resolvent.evaluate.store import Row, plain
from resolvent.mol.equation import Work
from resolvent.mol.model import MOL

REPEATS = 3
"""Number of timed runs, whose median is taken, after one run that is not timed."""


def measure(method: Method, case: Case) -> list[Row]:
    """Seconds of a reconstruction; for a network also those of a training step, and the bytes saved for its gradient.

    `saved_bytes` counts the tensors that autograd keeps between forward and backward pass, each storage once, without
    the weights: it does not depend on the machine. This is the memory that grows with the iterations of an unrolled
    network. A MOL is measured at the accuracies of its attributes; `evaluations` and `adjoint_evaluations` are those of
    its training step.
    """
    method.reconstruct(case.y, case.A, case.noise)
    seconds = [method.reconstruct(case.y, case.A, case.noise)[1]["seconds"] for _ in range(REPEATS)]
    row: Row = {"recon_seconds": statistics.median(seconds)}
    if isinstance(method.model, nn.Module):
        row |= {"parameters": sum(p.numel() for p in method.model.parameters())}
        row |= {"iterations": iterations(method.model)}
        row |= training_step(method.model, case)
    return [row]


def iterations(model: nn.Module) -> int | None:
    """Number of iterations of an unrolled network: its `steps`, or those it was built with; None for any other."""
    steps = getattr(model, "steps", getattr(model, "config", {}).get("steps"))
    return steps if isinstance(steps, int) else None


@contextmanager
def saved_storages(weights: nn.Module) -> Iterator[dict[int, torch.UntypedStorage]]:
    """A dictionary of the storages that autograd saves inside this context, each once, without the weights."""
    own = {p.untyped_storage().data_ptr() for p in weights.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}  # keeps the storages alive, so that no address is used twice

    def keep(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        yield saved


def training_step(model: nn.Module, case: Case) -> Row:
    """One forward and backward pass with the mean squared error of one scan; the model is not changed."""
    model = copy.deepcopy(model).train().requires_grad_(True)
    times, kept, facts = [], 0, {}
    for _ in range(REPEATS + 1):
        model.zero_grad()
        work = Work()
        began = time.perf_counter()
        with saved_storages(model) as saved:
            if isinstance(model, MOL):
                image = model(case.y, case.A, case.noise, work=work)
            else:
                image = model(case.y, case.A, case.noise)
            loss = (image - case.reference).abs().square().mean()
        kept = sum(storage.nbytes() for storage in saved.values())
        loss.backward()
        times.append(time.perf_counter() - began)
        if isinstance(model, MOL):
            facts = {"evaluations": work.evaluations, "adjoint_evaluations": work.adjoint_evaluations}
    return {"step_seconds": statistics.median(times[1:]), "saved_bytes": kept, **facts}


def summarise(rows: list[Row]) -> list[Row]:
    """Medians over scans, and ratios to the unrolled network with the most iterations, if there is one."""
    found: list[Row] = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        numbers = [name for name in ("recon_seconds", "step_seconds", "saved_bytes") if name in own[0]]
        row = {**own[0], **{name: statistics.median(r[name] for r in own) for name in numbers}}
        found.append(row)
    unrolled = [row for row in found if row.get("iterations")]
    if unrolled:
        base = max(unrolled, key=lambda row: row["iterations"])
        for row in found:
            for name in ("step_seconds", "saved_bytes"):
                if row.get(name) is not None:
                    row[f"{name}_ratio"] = row[name] / base[name]
    return [plain(row) for row in found]
