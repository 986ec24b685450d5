"""Memory of a training step on a volume: the gradient of the equation against that of ten unrolled iterations.

    python benchmarks/memory.py

Bytes of all tensors held at the peak of solve and backward, once the equation of the scan stands (the bounds of the
weights before that take the same at any size); workspaces of kernels are not in them. No machine changes these numbers.
The growth between two small sizes gives the bytes a pixel, and from these what a volume of 128^3 takes: computed, not
measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

import resolvent as rv
from resolvent.data import birdcage_maps
from resolvent.mol.baselines import MoDL
from resolvent.monotone import CertifiedStack
from resolvent.monotone.footprint import Held

COILS, ITERATIONS = 8, 10
SIZES = (8, 12, 12), (8, 20, 20)
FULL = 128**3

Step = Callable[[Tensor, rv.SENSE, Held], Tensor]


def scan(spatial: tuple[int, ...]) -> tuple[Tensor, rv.SENSE]:
    """K-space of noise, a third of it measured, and its physics."""
    mask = torch.zeros(1, *spatial)
    mask[..., ::3] = mask[..., spatial[-1] // 2] = 1
    A = rv.SENSE(birdcage_maps(COILS, spatial)[None], mask, ndim=3, coil_chunk=1)
    return A(torch.randn(1, *spatial, dtype=torch.complex64)), A


def equation(model: rv.MOL) -> Step:
    """The solution, with the gradient of the equation; as `MOL.forward`."""

    def step(y: Tensor, A: rv.SENSE, held: Held) -> Tensor:
        posed, _, context = model.pose(y, A)
        held.peak = held.now
        x = posed.solve(context.sense, tol=model.tol, max_steps=model.max_steps).x
        return posed.attach(x, tol=model.adjoint_tol, max_steps=model.max_steps)

    return step


def unrolled(model: rv.MOL) -> Step:
    """The same network in plain iterations x - G(x) / c, all of them kept for the backward pass."""

    def step(y: Tensor, A: rv.SENSE, held: Held) -> Tensor:
        posed, _, context = model.pose(y, A)
        held.peak, x = held.now, context.sense
        for _ in range(ITERATIONS):
            x = x - posed.residual(x) / posed.c
        return x

    return step


def peak(step: Step, spatial: tuple[int, ...]) -> int:
    """Most bytes held in a training step."""
    y, A = scan(spatial)
    with Held() as held:
        step(y, A, held).abs().square().mean().backward()
    return held.peak


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    score = CertifiedStack(channels=16, layers=5, trunk_layers=4, ndim=3)
    model = rv.MOL(score, lam=200.0, normalise=True, noise_aware=True)
    modl = MoDL(channels=16, depth=5, steps=ITERATIONS, lam=200.0, normalise=True, ndim=3)
    steps: dict[str, Step] = {
        "equation (9 layers)": equation(model),
        f"the same network, {ITERATIONS} iterations unrolled": unrolled(model),
        f"MoDL, {ITERATIONS} iterations unrolled (5 layers)": lambda y, A, held: modl(y, A),
    }
    small, large = map(math.prod, SIZES)
    print(f"torch {torch.__version__}, {COILS} coils, 16 channels, complex64\n")
    print("| training step | bytes a pixel | at 128 x 128 x 128 |\n|---|---|---|")
    for name, step in steps.items():
        less, more = (peak(step, spatial) for spatial in SIZES)
        each = (more - less) / (large - small)
        print(f"| {name} | {each:.0f} | {each * FULL / 2**30:.1f} GiB |", flush=True)


if __name__ == "__main__":
    main()
