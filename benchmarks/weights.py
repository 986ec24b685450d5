"""The network of the benchmarks: the published architecture, lightly trained as a denoiser on the packaged scan.

    python -m benchmarks.weights        # writes benchmarks/weights/, minutes on one core

It shall converge as a trained network does, no more: the image quality is of no interest. As published, nothing proves
that it is monotone; a penalty holds its local Lipschitz constant near 0.9, the value that the model claims.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

import resolvent as rv
from resolvent.monotone import PlainCNN
from resolvent.monotone.estimates import lipschitz_penalty, local_lipschitz

FOLDER = Path(__file__).parent / "weights"
LAM, RIDGE, M = 1270.0, 0.1, 0.1
"""Of the published model, as its checkpoint and code have them; m is what training aimed at."""


def packaged_image() -> Tensor:
    """The reference of the packaged scan, its largest magnitude 1: ``(1, 176, 144)``, complex."""
    image = rv.read(Path(rv.__file__).parent / "scans" / "demo.h5").reference
    assert image is not None
    return image / image.abs().amax()


def patches(image: Tensor, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Random patches of the image, turned, mirrored, and with a phase of their own."""
    found = []
    for _ in range(count):
        y, x, turns, mirror = (
            int(torch.randint(n, (), generator=generator))
            for n in (image.shape[1] - size + 1, image.shape[2] - size + 1, 4, 2)
        )
        patch = torch.rot90(image[0, y : y + size, x : x + size], turns)
        phase = torch.exp(2j * torch.pi * torch.rand((), generator=generator))
        found.append((patch.flip(0) if mirror else patch) * phase)
    return torch.stack(found)


def train(steps: int, size: int = 48, batch: int = 4) -> rv.MOL:
    """Denoise patches with noise of 0 to 10 %, the barrier on the local Lipschitz constant at them."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    score, image = PlainCNN(m=M, channels=64, depth=5), packaged_image()
    optimiser = torch.optim.Adam(score.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for step in range(steps):
        clean = patches(image, batch, size, generator)
        level = 0.1 * torch.rand(batch, 1, 1, generator=generator)
        noisy = clean + level * torch.randn(clean.shape, dtype=clean.dtype, generator=generator)
        H = score.condition().H
        error = (H(noisy) - clean).abs().square().mean() / clean.abs().square().mean()
        loss = error + 0.02 * lipschitz_penalty(H, [noisy[:1]], 1 - M, steps=3, seed=step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            print(step, f"error {float(error.detach()):.4f} loss {float(loss.detach()):.4f}", flush=True)
    return rv.MOL(score, LAM, ridge=RIDGE).eval()


def main() -> None:
    """Train, look at the constant, and write the model."""
    model = train(600)
    image = packaged_image()
    found = local_lipschitz(model.score.condition().H, image, steps=20, starts=2).value
    print(f"local Lipschitz constant at the packaged image: {float(found):.3f}")
    purpose = "The published architecture for benchmarks/: lightly trained, for its speed of convergence only."
    rv.save(model, FOLDER, {"purpose": purpose, "made by": "benchmarks/weights.py"})


if __name__ == "__main__":
    main()
