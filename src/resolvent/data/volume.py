"""`Volume`: an image read from a file, with its geometry."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from resolvent._types import Brief
from resolvent.data.places import Geometry


@dataclass(frozen=True, eq=False, repr=False)
class Volume(Brief):
    """An image read from a file, from which `simulate` can make a scan.

    Attributes:
        image: ``(batch, *lead, *spatial)``; slices of a 2-D stack lie along ``batch``.
        geometry: position in the patient, if the file says so.
        source: the path it was read from.
        ndim: number of spatial axes, 2 or 3.
        counters: see `Scan`.
    """

    image: Tensor
    geometry: Geometry | None = None
    source: str = ""
    ndim: int = 2
    counters: tuple[str, ...] = ()
