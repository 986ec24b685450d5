"""Memory of a solve: its peak, estimated before it starts, and the tile of the network that keeps it below a limit."""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from resolvent._errors import MemoryLimitError
from resolvent.linop import SENSE, LinearOperator
from resolvent.monotone import Footprint, Tile, footprint

if TYPE_CHECKING:
    from resolvent.mol.model import MOL

LIBRARIES = 40 * 2**20
"""Bytes of the libraries and plans that the first transform and the first convolution load."""
HISTORY, ITERATION, LINEAR, EXTRAPOLATION = 12, 3, 6, 8
"""Images held by the Anderson history, by the rest of the iteration, in a linear solve, and while extrapolating."""
SMALLEST = 8
"""Smallest width of a tile in pixels: below it a tile is nearly all halo."""
UNKNOWN = "The memory of a solve is known for Cartesian scans only, not for {}. Leave out the limit."
"""Message for other operators."""

_MMAP_THRESHOLD = -3
"""Number of the option in malloc.h."""


@dataclass(frozen=True)
class Plan:
    """How a solve stays within a memory limit.

    Attributes:
        tile: the largest part that the network may process at once; None for everything.
        peak: estimate of the peak memory of the solve in bytes, without y and A.
    """

    tile: Tile | None
    peak: int


def solve_peak(model: MOL, y: Tensor, A: SENSE) -> int:
    """Estimate of the peak memory of `MOL.solve` for these scans in bytes, without y and A.

    With x the bytes of an image, y those of k-space, A those of the operator, n the number of pixels, v the number that
    the network processes at once (here all; in `plan` the largest tile with its halo), and ``look``, ``kept`` and
    ``work`` the bytes that it takes for each pixel (see `Footprint`)::

        held    = y + 4 x                             in the units of the model: y, A^H y, linear image, lam A^H y
        normal  = 3 (coils at once) x + 3 x           a product with N
        units   = held + max(2 y, 6 x + normal)       noise level, linear reconstruction
        look    = held + look v (+ 2 kept n)          conditioning (in tiles: and the result they are collected in)
        solve   = held + kept n + 15 x + max(work v + 3 x, 6 x + normal, 8 x)
        certify = held + kept n + x + 2 (A + kept n + 3 x)
                  + max(2 (y + normal), 2 work v + 8 x, 2 (5 x + normal))

    where the last is in double precision. The result is the largest of them plus `LIBRARIES`. 15 images are the history
    and iterates of the fixed-point iteration, 6 those of conjugate gradients.

    Memory that the heap keeps for later use is not counted: see `return_memory`.
    """
    return _peak(footprint(model.score), _Sizes.of(y, A), A, _shape(model, y, A))


def plan(model: MOL, y: Tensor, A: LinearOperator, limit: int, held: int = 0) -> Plan:
    """The tile with the least halo for which the estimate plus the bytes already `held` is at most `limit`.

    Raises:
        MemoryLimitError: not even the smallest tile fits, the network does not allow tiles, or A is not `SENSE`.
    """
    if not isinstance(A, SENSE):
        raise MemoryLimitError(UNKNOWN.format(type(A).__name__))
    taken, sizes, shape = footprint(model.score), _Sizes.of(y, A), _shape(model, y, A)
    radius = model.score.radius

    def peak(tile: Tile) -> int:
        return _peak(taken, sizes, A, _seen(shape, tile, radius))

    whole = peak(shape)
    if whole + held <= limit:
        return Plan(None, whole)
    tiles = [] if radius is None else _candidates(shape)
    fitting = [tile for tile in tiles if peak(tile) + held <= limit]
    if not fitting:
        least = min(map(peak, tiles), default=whole)
        enough = (math.ceil(1.03 * (least + held) / 2**30 * 100) + 1) / 100 * 2**30  # rounded up to the digits shown
        raise MemoryLimitError(
            f"The solve needs {gib(least)}{' in the smallest tiles' if tiles else ''} beside "
            f"{f'the {gib(held)} held already' if held else 'the scan'} ({gib(whole)} in one piece) but the limit is "
            f"{gib(max(limit, 0))}. Raise it to {gib(enough)}, take fewer coils (`resolvent.data.compress_coils`), "
            "or a smaller model."
        )
    tile = min(fitting, key=lambda tile: math.prod(_seen(shape, tile, radius)) * _count(shape, tile))
    return Plan(tile, peak(tile))


def return_memory() -> bool:
    """Let this process return freed tensors to the system at once; returns whether this could be set.

    The heap of glibc learns to keep larger and larger pieces, and between blocks of a volume it fragments to twice the
    memory in use. With this setting, freed pieces of a MiB or more go back, as with
    ``MALLOC_MMAP_THRESHOLD_=1048576`` in the environment. It costs time (pages are cleared again), so only a process
    with a limit should use it.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return hasattr(libc, "mallopt") and bool(libc.mallopt(_MMAP_THRESHOLD, 2**20))


def resident() -> int:
    """Resident memory of this process in bytes; its peak so far where the system does not report the current value.

    >>> resident() > 2**20
    True
    """
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def gib(size: float) -> str:
    """A number of bytes as text.

    >>> gib(3 * 2**29)
    '1.50 GiB'
    """
    return f"{size / 2**30:.2f} GiB"


def _shape(model: MOL, y: Tensor, A: SENSE) -> Tile:
    """``(images, *spatial)`` of the input of the network."""
    axes = tuple(y.shape[2:])
    cut = len(axes) - model.score.ndim
    return (A.sets * math.prod(axes[:cut]), *axes[cut:])


def _candidates(shape: Tile) -> list[Tile]:
    """Tiles with every axis split into 1, 2, 4, ... parts: images down to one, others down to `SMALLEST`."""

    def widths(size: int, least: int) -> list[int]:
        halves = [math.ceil(size / 2**k) for k in range(size.bit_length() + 1)]
        return sorted({width for width in halves if width >= min(least, size)})

    return list(itertools.product(widths(shape[0], 1), *(widths(size, SMALLEST) for size in shape[1:])))


def _seen(shape: Tile, tile: Tile, radius: int | None) -> Tile:
    """The largest tile with its halo."""
    halo = (0, *(2 * (radius or 0),) * (len(shape) - 1))
    return tuple(min(size, width + extra) for size, width, extra in zip(shape, tile, halo, strict=True))


def _count(shape: Tile, tile: Tile) -> int:
    """Number of tiles."""
    return math.prod(math.ceil(size / width) for size, width in zip(shape, tile, strict=True))


@dataclass(frozen=True)
class _Sizes:
    """Number of scans, bytes of image, k-space and operator, and pixels of the image."""

    batch: int
    image: int
    kspace: int
    operator: int
    pixels: int

    @classmethod
    def of(cls, y: Tensor, A: SENSE) -> _Sizes:
        pixels = y.numel() // A.n_coils * A.sets
        return cls(len(y), pixels * y.element_size(), y.nbytes, sum(t.nbytes for t in A.buffers()), pixels)


def _peak(taken: Footprint, sizes: _Sizes, A: SENSE, tile: Tile) -> int:
    """The formula of `solve_peak` for the largest `tile`, with its halo."""
    x, y, n = sizes.image, sizes.kspace, sizes.pixels
    seen = sizes.batch * math.prod(tile)
    precision = x / (8 * n)  # bytes of a number relative to single precision
    look, kept, work = (precision * f for f in (taken.look, taken.kept, taken.work))
    held, normal = y + 4 * x, 3 * A.coil_chunk * x // A.sets + 3 * x
    units = held + max(2 * y, LINEAR * x + normal)
    conditioning = held + look * seen + (2 * kept * n if seen < n else 0)
    solve = held + kept * n + (HISTORY + ITERATION) * x
    solve += max(work * seen + 3 * x, LINEAR * x + normal, EXTRAPOLATION * x)
    double = 2 * (sizes.operator + kept * n + 3 * x)
    double += max(2 * (y + normal), 2 * work * seen + 8 * x, 2 * (5 * x + normal))
    certify = held + kept * n + x + double
    return round(max(units, conditioning, solve, certify)) + LIBRARIES
