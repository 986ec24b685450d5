"""A training step: seconds, error of its gradient and memory.

The loss is the mean squared error of one scan. The exact gradient is that of the same equation in double precision, its
image and adjoint solution to 1e-9. The published step takes 60 iterations forward, and as many backward; its gradient
is then far from exact, so that it is also timed with as many as its code allows.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

import resolvent as rv
from benchmarks import published
from benchmarks.problem import PUBLISHED, Case, Clock, make_case, model, table
from resolvent.evaluate.cost import saved_storages
from resolvent.mol.baselines import MoDL

TOL, ADJOINT_TOL = 3e-2, 3e-1
"""Accuracies of image and adjoint solution, as bounds of the distance; the gradient is then good to 1 %."""
TIMES = 3
"""Pairs of steps that are timed, after two that are not."""


def loss(image: Tensor, case: Case) -> Tensor:
    """The mean squared error."""
    return (image - case.image).abs().square().mean()


def published_image(mol: rv.MOL, case: Case, steps: int, form: published.Form = published.as_published) -> Tensor:
    """So many published iterations from the linear reconstruction, and as many for the gradient."""
    with torch.no_grad():
        iteration = form(mol, case)
        x = iteration.start
        for _ in range(steps):
            x = iteration.step(x)
    return iteration.attach(x, steps)


def gradient(mol: nn.Module, image: Callable[[], Tensor], case: Case) -> Tensor:
    """The gradient of the loss, all weights of the network in one vector."""
    mol.zero_grad()
    loss(image(), case).backward()
    found = [p.grad.flatten() for name, p in mol.named_parameters() if p.grad is not None and name != "log_lam"]
    return torch.cat(found).double()


def exact_gradient(mol: rv.MOL, case: Case) -> Tensor:
    """In double precision, image and adjoint solution to 1e-9."""
    exact = copy.deepcopy(mol).double()
    exact.tol = exact.adjoint_tol = 1e-9
    exact.max_steps = 1000
    y, image, noise = case.y.to(torch.complex128), case.image.to(torch.complex128), case.noise.double()
    double = replace(case, y=y, A=case.A.to_double(), noise=noise, image=image)
    return gradient(exact, lambda: exact(y, double.A, noise), double)


def saved_bytes(weights: nn.Module, image: Callable[[], Tensor]) -> int:
    """What is kept between forward and backward pass, in bytes."""
    with saved_storages(weights) as saved:
        held = image()
    del held
    return sum(storage.nbytes() for storage in saved.values())


def with_steps(mol: rv.MOL, steps: int) -> rv.MOL:
    """The model, with a solve of exactly so many steps."""
    mol = copy.deepcopy(mol)
    mol.max_steps, mol.tol = steps, 1e-12
    return mol


def measure(device: torch.device, size: int = 128, coils: int = 8) -> str:
    """The table."""
    case, clock = make_case(size, coils, device), Clock(device)
    mol = model(PUBLISHED, device).train()
    loose = copy.deepcopy(mol)
    loose.tol, loose.adjoint_tol = TOL, ADJOINT_TOL
    few, most = published.TRAINING_STEPS
    unrolled = MoDL(channels=64, depth=5, steps=10, lam=float(mol.lam.detach())).to(device)
    steps: dict[str, tuple[nn.Module, Callable[[], Tensor]]] = {
        f"resolvent, tol {TOL:g} and {ADJOINT_TOL:g}": (loose, lambda: loose(case.y, case.A, case.noise)),
        f"resolvent, tol {mol.tol:g} and {mol.adjoint_tol:g} (default)": (mol, lambda: mol(case.y, case.A, case.noise)),
        f"published step, {few} + {few}": (mol, lambda: published_image(mol, case, few)),
        "the same on our operators": (mol, lambda: published_image(mol, case, few, published.on_our_operators)),
        f"published step, {most} + {most}": (mol, lambda: published_image(mol, case, most)),
        "MoDL-10": (unrolled, lambda: unrolled(case.y, case.A, case.noise)),
    }
    exact, rows = exact_gradient(mol, case), []
    calls = [lambda w=w, x=x: gradient(w, x, case) for w, x in steps.values()]
    pairs = [clock.by_turns(calls[0], call, TIMES) for call in calls[1:]]
    base, ratios = statistics.median(seconds for seconds, _ in pairs), [1.0, *(ratio for _, ratio in pairs)]
    held = [saved_bytes(weights, image) for weights, image in steps.values()]
    for (name, (weights, _)), call, ratio, kept in zip(steps.items(), calls, ratios, held, strict=True):
        error = "" if weights is unrolled else f"{float((call() - exact).norm() / exact.norm()):.1e}"
        memory = f"{kept / 2**20:.1f}", f"{kept / held[0]:.1f}"
        rows.append([name, f"{ratio * base:.2f}", f"{ratio:.2f}", error, *memory])
    head = ["step", "seconds", "over the first", "error of the gradient", "MiB kept", "over the first"]
    flat = []
    for count in (5, 50):
        long = with_steps(mol, count)
        kept = saved_bytes(long, lambda m=long: m(case.y, case.A, case.noise))
        flat.append(f"{kept / 2**20:.1f} MiB after {count} steps")
    timed = f"Steps are timed by turns with the first, medians of {TIMES} pairs after two that are not counted"
    return (
        f"{size} x {size}, {coils} coils, R = 6. {timed}.\n\n{table(head, rows)}\n\nKept by a solve: {', '.join(flat)}."
    )
