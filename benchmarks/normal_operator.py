"""Time of `SENSE.normal` over that of the bare batched FFT pair of the same size, in one process.

The two are timed by turns.
"""

from __future__ import annotations

import torch

import resolvent as rv
from benchmarks.problem import Clock, table

CASES = {
    "2-D, 16 coils, 256 x 256": ((1, 16, 256, 256), 2),
    "2-D, 16 coils, 320 x 320": ((1, 16, 320, 320), 2),
    "2-D, 4 slices, 8 coils, 128 x 128": ((4, 8, 128, 128), 2),
    "2-D + time, 8 frames, 8 coils, 128 x 128": ((1, 8, 8, 128, 128), 2),
    "3-D, 8 coils, 32 x 96 x 96": ((1, 8, 32, 96, 96), 3),
}


@torch.no_grad()
def measure(device: torch.device) -> str:
    """The table."""
    clock, rows = Clock(device), []

    for name, (shape, ndim) in CASES.items():
        k = torch.randn(shape, dtype=torch.complex64, device=device)
        maps = k[:, :, :1] if k.ndim == 5 and ndim == 2 else k
        image = torch.randn(shape[0], *shape[2:], dtype=torch.complex64, device=device)
        points = (torch.rand(shape[-ndim:], device=device) < 0.3).float()
        lines = (torch.rand(shape[-1], device=device) < 0.3).float().expand(shape[-ndim:])
        axes = tuple(range(-ndim, 0))

        def bare(k: torch.Tensor = k, axes: tuple[int, ...] = axes) -> torch.Tensor:
            return torch.fft.ifftn(torch.fft.fftn(k, dim=axes, norm="ortho"), dim=axes, norm="ortho")

        cells = []
        for mask in (points, lines):
            mask = mask.expand(1, *shape[2:]).contiguous()
            A = rv.SENSE(maps, mask, ndim=ndim)
            base, ratio = clock.by_turns(bare, lambda A=A, image=image: A.normal(image), 25)
            cells.append(ratio)
        rows.append([name, f"{1e3 * base:.1f}", f"{cells[0]:.2f}", f"{cells[1]:.2f}"])
    return table(["case", "bare FFT pair, ms", "normal / bare, 2-D mask", "normal / bare, 1-D mask"], rows)
