"""What all benchmarks share: simulated scans of any size, the models, a clock and a table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

import resolvent as rv
from benchmarks.weights import FOLDER, packaged_image
from resolvent.data import birdcage_maps

PUBLISHED = "published architecture"
"""The name of the model in `weights`, beside those of the package."""


@dataclass(frozen=True, eq=False)
class Case:
    """Measurements of a batch of scans, on one device; A is made of maps and mask."""

    y: Tensor
    maps: Tensor
    mask: Tensor
    A: rv.SENSE
    noise: Tensor
    image: Tensor


def brain(size: int) -> Tensor:
    """The packaged image at ``size x size`` pixels."""
    image = pad(torch.view_as_real(packaged_image()).movedim(-1, 1), (16, 16))
    return torch.view_as_complex(interpolate(image, (size, size), mode="bicubic").movedim(1, -1).contiguous())


def make_case(size: int, coils: int, device: torch.device, *, batch: int = 1) -> Case:
    """The packaged image at R = 6 (variable density in 2-D) and 30 dB, `batch` times, each with a noise of its own."""
    image, maps = brain(size).expand(batch, -1, -1), birdcage_maps(coils, (size, size), seed=0).unsqueeze(0)
    scan = rv.simulate(image, maps=maps, acceleration=6, snr_db=30.0, phase=False)
    assert scan.mask is not None and scan.reference is not None
    maps, mask = maps.to(device), scan.mask.to(device)
    A = rv.SENSE(maps, mask, ndim=2)
    return Case(
        scan.kspace.to(device), maps, mask, A, torch.tensor(scan.noise, device=device), scan.reference.to(device)
    )


def model(name: str, device: torch.device) -> rv.MOL:
    """A model by name: `PUBLISHED`, or one of the package."""
    found = rv.load(FOLDER if name == PUBLISHED else name)
    assert isinstance(found, rv.MOL)
    return found.to(device)


class Clock:
    """Seconds, without those in which it was stopped.

    Of the processor on a CPU, so that other programs beside this one do not count (which asks for one thread); of the
    wall on a GPU, which is waited for.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._stopped = device, 0.0

    def __call__(self) -> float:
        """Seconds since some moment."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return time.perf_counter() - self._stopped
        return time.process_time() - self._stopped

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What happens inside takes no time."""
        began = self()
        yield
        self._stopped += self() - began

    def median(self, run: Callable[[], object], times: int) -> float:
        """Seconds of a call: the median of some, after one that is not counted."""
        run()
        found = []
        for _ in range(times):
            began = self()
            run()
            found.append(self() - began)
        return statistics.median(found)

    def by_turns(self, first: Callable[[], object], second: Callable[[], object], times: int) -> tuple[float, float]:
        """Seconds of a call of `first`, and those of `second` over those of the call of `first` before it: medians.

        A change of the machine's speed cancels in the ratio.
        """
        pairs = []
        for _ in range(times + 2):
            began = self()
            first()
            between = self()
            second()
            pairs.append((between - began, self() - between))
        return statistics.median(a for a, _ in pairs[2:]), statistics.median(b / a for a, b in pairs[2:])


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
