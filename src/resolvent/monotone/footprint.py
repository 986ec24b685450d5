"""The memory that a network takes, computed from shapes alone."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from resolvent.monotone.operator import MonotoneOperator, ScanContext

_PROBE = {2: (256, 256), 3: (48, 64, 64)}
"""Matrix on which memory is counted: large compared with the kernels, and in 3-D several blocks of planes."""


class Held(TorchDispatchMode):
    """Counts the bytes of the tensors that operations within this context return, as long as each is alive.

    Attributes:
        now: bytes after the last operation.
        peak: largest number of bytes so far; may be reset.

    >>> with Held() as held:
    ...     x = torch.ones(1000)
    ...     y = (x + 1).sum()
    >>> held.peak, held.now
    (8004, 8004)
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._storages = {key: held for key, held in self._storages.items() if not held[0].expired()}
        for t in tree_leaves(out):
            if isinstance(t, Tensor):
                storage = t.untyped_storage()
                self._storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.now = sum(size for _, size in self._storages.values())
        self.peak = max(self.peak, self.now)
        return out


@dataclass(frozen=True)
class Footprint:
    """Bytes for each pixel of an image in single precision; twice as many in double.

    Attributes:
        look: peak during the conditioning.
        kept: result of the conditioning, kept for the whole solve.
        work: peak during an evaluation of H.
    """

    look: float
    kept: float
    work: float


_KNOWN: WeakKeyDictionary[MonotoneOperator, Footprint] = WeakKeyDictionary()


def footprint(score: MonotoneOperator) -> Footprint:
    """The memory that a score takes, counted by conditioning and evaluating it on the meta device.

    It is proportional to the number of pixels, apart from weights and borders. Counting takes a second, once per score.
    """
    if score not in _KNOWN:
        _KNOWN[score] = _counted(score)
    return _KNOWN[score]


@torch.no_grad()
def _counted(score: MonotoneOperator) -> Footprint:
    score = copy.deepcopy(score).to("meta", torch.float32).eval()
    x = torch.empty(1, *_PROBE[score.ndim], dtype=torch.complex64, device="meta")
    with Held() as held:
        level = torch.empty(1, device="meta")
        F = score.condition(ScanContext(x, x, level, lambda u: u + 0, still=lambda: x + 0))
        look, held.peak = held.peak, 0
        kept = sum(t.nbytes for t in F.own)
        before = held.now
        F.H(x)
    look, kept, work = (size / x.numel() for size in (look, kept, held.peak - before))
    return Footprint(look, kept, work)
