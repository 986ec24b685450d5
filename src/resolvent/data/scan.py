"""`Scan`: the measured data of one file, as every reader returns it and every writer takes it back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from resolvent._types import Image, KSpace, Maps, Mask


@dataclass(frozen=True)
class Geometry:
    """Where the image lies in the patient: NIfTI's RAS+ world, millimetres.

    Attributes:
        affine: 4 x 4; maps the voxel index ``(column x, row y, slice z, 1)`` to the world point ``(R, A, S, 1)``.
    """

    affine: np.ndarray


@dataclass(frozen=True)
class Volume:
    """An image that came from a file: `simulate` makes a scan of it.

    Attributes:
        image: ``(batch, *lead, *spatial)``; slices of a 2-D stack lie along ``batch``.
        geometry: position in the patient, if the file says so.
        source: the path it was read from.
    """

    image: Image
    geometry: Geometry | None = None
    source: str = ""


@dataclass(frozen=True)
class Scan:
    """k-space as measured, with what is known about it. Frozen: every change makes a new scan.

    Attributes:
        kspace: ``(batch, coil, *lead, *spatial)``, centred, zero where not measured, readout oversampling removed.
        mask: ``(batch or 1, *lead or 1, *spatial)`` float, 1 where measured.
        coil_maps: ``(batch, coil, *lead or 1, *spatial)`` if the file has them; else `maps` estimates them.
        noise: standard deviation of the complex noise of one k-space sample (``E|n|^2 = noise^2``), in units of
            `kspace`; None if unknown.
        geometry: position in the patient, if the file says so.
        reference: image known to be right (simulations, published sets), else None.
        scale: `kspace` times `scale` is in the units of the file.
        ndim: number of spatial axes, 2 or 3.
        source: the path it was read from.
    """

    kspace: KSpace
    mask: Mask
    coil_maps: Maps | None = None
    noise: float | None = None
    geometry: Geometry | None = None
    reference: Image | None = None
    scale: float = 1.0
    ndim: int = 2
    source: str = ""

    @cached_property
    def maps(self) -> Maps:
        """The maps of the file, or ESPIRiT maps estimated from the fully sampled centre of k-space."""
        if self.coil_maps is not None:
            return self.coil_maps
        from resolvent.data.coils import espirit  # SigPy takes a second to import: only when needed

        return espirit(self)

    @property
    def n_coils(self) -> int:
        """Number of receive coils."""
        return self.kspace.shape[1]

    @property
    def fully_sampled(self) -> bool:
        """Whether every sample was measured."""
        return bool((self.mask != 0).all())

    def replace(self, **changes: object) -> Scan:
        """A copy with some fields changed."""
        return replace(self, **changes)  # pyright: ignore[reportArgumentType]

    def normalised(self) -> Scan:
        """The same scan in units in which the largest coil-image magnitude is 1; `scale` keeps the factor."""
        raise NotImplementedError


