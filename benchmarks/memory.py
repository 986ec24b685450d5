"""Memory of a training step on a volume: the equation against an unrolled network of ten iterations, of the same width.

    python benchmarks/memory.py

Bytes of all tensors held at the peak of forward and backward, which no machine changes; workspaces of kernels are not
in them. The growth between two small sizes gives the bytes a pixel, and from these what a volume of 128^3 would take:
computed, not measured.
"""

from __future__ import annotations

import math

import torch
from torch import nn

import resolvent as rv
from resolvent.data import birdcage_maps
from resolvent.mol.baselines import MoDL
from resolvent.monotone import CertifiedStack
from resolvent.monotone.footprint import Held

COILS = 8
SIZES = (8, 12, 12), (8, 20, 20)
FULL = 128**3


def peak(model: nn.Module, spatial: tuple[int, ...]) -> int:
    """Most bytes held in a training step."""
    mask = torch.zeros(1, *spatial)
    mask[..., ::3] = mask[..., spatial[-1] // 2] = 1
    A = rv.SENSE(birdcage_maps(COILS, spatial)[None], mask, ndim=3, coil_chunk=1)
    y = A(torch.randn(1, *spatial, dtype=torch.complex64))
    with Held() as held:
        model(y, A).abs().square().mean().backward()
    return held.peak


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    score = CertifiedStack(channels=16, layers=5, trunk_layers=4, ndim=3)
    models = {
        "equation": rv.MOL(score, lam=200.0, normalise=True, noise_aware=True),
        "unrolled, 10 iterations": MoDL(channels=16, depth=5, steps=10, lam=200.0, normalise=True, ndim=3),
    }
    small, large = map(math.prod, SIZES)
    print(f"torch {torch.__version__}, {COILS} coils, complex64\n")
    print("| training step | bytes a pixel | at 128 x 128 x 128 |\n|---|---|---|")
    for name, model in models.items():
        less, more = (peak(model, spatial) for spatial in SIZES)
        each = (more - less) / (large - small)
        print(f"| {name} | {each:.0f} | {each * FULL / 2**30:.1f} GiB |", flush=True)


if __name__ == "__main__":
    main()
