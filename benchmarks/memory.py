"""Memory of a training step on a volume: the gradient of the equation against that of ten unrolled iterations.

    python -m benchmarks memory

Bytes of all tensors held at the peak of solve and backward, once the equation of the scan stands (the bounds of the
weights before that take the same at any size); workspaces of kernels are not in them. No machine changes these numbers.
The growth between two small sizes gives the bytes a pixel, and from these what a volume of 128^3 takes: computed. One
step with the equation is taken in a process of its own, and the memory that the system gave it is measured.
"""

from __future__ import annotations

import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

import resolvent as rv
from benchmarks.problem import table
from resolvent.data import birdcage_maps
from resolvent.mol.baselines import MoDL
from resolvent.monotone import CertifiedStack, convolution
from resolvent.monotone.footprint import Held

COILS, ITERATIONS = 8, 10
SIZES = (8, 8, 8), (16, 8, 8)

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


def training_step(size: int) -> None:
    """One training step at R = 6 in this process; prints seconds of the processor and bytes that it held at most."""
    torch.manual_seed(0)
    volume = torch.rand(1, size, size, size) + 0j
    maps = birdcage_maps(COILS, volume.shape[1:])[None]
    simulated = rv.simulate(volume, maps=maps, acceleration=6, snr_db=30.0, phase=False, seed=0)
    assert simulated.mask is not None
    model, A = network().train(), rv.SENSE(maps, simulated.mask, ndim=3)
    began = time.process_time()
    image = model(simulated.kspace, A, torch.tensor(simulated.noise))
    (image - volume).abs().square().mean().backward()
    seconds = time.process_time() - began
    unit = 1 if sys.platform == "darwin" else 1024
    print(seconds, unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def network() -> rv.MOL:
    """An untrained model of volumes, as small as is of use."""
    score = CertifiedStack(m=0.1, channels=16, layers=5, trunk_layers=4, ndim=3)
    return rv.MOL(score, lam=200.0, normalise=True)


def measure(device: torch.device, size: int = 128) -> str:
    """The table of what is computed, and a step that was taken; on the processor, whatever the device."""
    torch.manual_seed(0)
    model = network()
    modl = MoDL(channels=16, depth=5, steps=ITERATIONS, lam=200.0, normalise=True, ndim=3)
    steps: dict[str, Step] = {
        "equation (9 layers)": equation(model),
        f"the same network, {ITERATIONS} iterations unrolled": unrolled(model),
        f"MoDL, {ITERATIONS} iterations unrolled (5 layers)": lambda y, A, held: modl(y, A),
    }
    (small, large), rows, base = map(math.prod, SIZES), [], None
    with blocks_of_two_planes():
        for name, step in steps.items():
            less, more = (peak(step, spatial) for spatial in SIZES)
            each = (more - less) / (large - small)
            base = base or each
            rows.append([name, f"{each:.0f}", f"{each * size**3 / 2**30:.1f} GiB", f"{each / base:.1f}"])
    head = ["training step", "bytes a pixel", f"at {size} x {size} x {size}", "over the first"]
    command = [sys.executable, "-c", f"from benchmarks import memory; memory.training_step({size})"]
    taken = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return (
        f"{COILS} coils, 16 channels, single precision; computed.\n\n{table(head, rows)}\n\nThe first one was taken, "
        f"at R = 6: the whole process held {float(taken[1]) / 2**30:.1f} GiB at its peak, k-space, maps and libraries "
        f"included, and took {float(taken[0]):.0f} s."
    )


@contextmanager
def blocks_of_two_planes() -> Iterator[None]:
    """Convolutions of the small sizes go in blocks of as many planes as at 128 x 128: at the ends they are copied."""
    before, convolution.BLOCK = convolution.BLOCK, 2 * math.prod(SIZES[0][1:])
    try:
        yield
    finally:
        convolution.BLOCK = before
