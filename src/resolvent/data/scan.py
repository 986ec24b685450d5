"""`Scan`: the measured data of one file, which every reader returns and every writer accepts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from resolvent._errors import DataError, ShapeError
from resolvent._types import Brief, Maps
from resolvent.data.places import Geometry, Trajectory

if TYPE_CHECKING:
    from resolvent.linop import LinearOperator


@dataclass(frozen=True, eq=False, repr=False)
class Scan(Brief):
    """Measured k-space, with what is known about it. Frozen: every change makes a new scan.

    The fields are `KSpace`, `Mask`, `Maps` and `Image` of `resolvent._types`. `validated` checks this, with a message
    that names the file; the types do not.

    Attributes:
        kspace: ``(batch, coil, *lead, *spatial)``, centred, zero where not measured, readout oversampling removed.
        mask: ``(batch or 1, *lead or 1, *spatial)`` float, 1 where measured.
        coil_maps: ``(batch, coil, *lead or 1, *spatial)`` if the file has them; else `maps` estimates them.
        noise: standard deviation of the complex noise of one k-space sample (``E|n|^2 = noise^2``), in units of
            `kspace`; 0 if there is none, None if unknown: models then estimate it.
        geometry: position in the patient, if the file states it.
        reference: the reference image (simulations, published data sets), else None.
        scale: `kspace` times `scale` is in the units of the file.
        ndim: number of spatial axes, 2 or 3.
        source: the path it was read from.
        calibration: lines that were measured only for the maps (a separate calibration scan), on the same matrix;
            `maps` are then estimated from them.
        trajectory: for a non-Cartesian scan; the last `ndim` axes of k-space and mask are then those of its samples.
        readout: the spatial axis that is frequency encoded, -1 for columns or -2 for rows (-3: partitions); None if
            unknown, or if all are phase encoded. `undersample` never leaves out part of a readout.
        counters: what the lead axes count ("contrast", "phase", "repetition" or "set", as in MRD), one name for each;
            empty if unknown. Images in MRD and DICOM are numbered accordingly.
    """

    kspace: Tensor
    mask: Tensor
    coil_maps: Tensor | None = None
    noise: float | None = None
    geometry: Geometry | None = None
    reference: Tensor | None = None
    scale: float = 1.0
    ndim: int = 2
    source: str = ""
    calibration: Scan | None = None
    trajectory: Trajectory | None = None
    readout: int | None = None
    counters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Resolve the lazy conjugates of PyTorch, which NumPy and views of complex tensors as real do not support."""
        for name in ("kspace", "coil_maps", "reference"):
            values = getattr(self, name)
            if isinstance(values, Tensor):
                object.__setattr__(self, name, values.resolve_conj().resolve_neg())

    @cached_property
    def maps(self) -> Maps:
        """The maps of the file, or ESPIRiT maps estimated from the densely sampled centre of k-space."""
        if self.coil_maps is not None:
            return self.coil_maps
        from resolvent.data.espirit import espirit  # that module needs Scan

        if self.calibration is None:
            return espirit(self)
        maps = espirit(self.calibration)  # of one frame, used for all
        lead = (1,) * (self.kspace.ndim - self.calibration.kspace.ndim)
        return maps.reshape(*maps.shape[:2], *lead, *maps.shape[2:])

    @property
    def matrix(self) -> tuple[int, ...]:
        """Spatial shape of the image."""
        return tuple(self.kspace.shape[-self.ndim :]) if self.trajectory is None else self.trajectory.matrix

    def operator(self, maps: Maps | None = None) -> LinearOperator:
        """The operator A of the scan: `SENSE`, or `NonCartesian` if it has a trajectory.

        Args:
            maps: coil maps; those of the scan by default.

        Raises:
            ShapeError, DataError: the maps do not fit, or have several sets with a trajectory.
        """
        from resolvent.linop import SENSE, NonCartesian

        scan = self if maps is None else self.replace(coil_maps=maps)
        if scan.trajectory is not None:
            if scan.sets > 1:
                raise ShapeError(
                    f"maps have {scan.sets} sets, but a trajectory allows only one. Pass the first set alone, "
                    "maps[:, :, 0] (of BART's: `bart slice 4 0`)."
                )
            return NonCartesian(scan.maps, scan.trajectory.places, scan.mask)
        return SENSE(scan.maps, scan.mask, ndim=scan.ndim, sets=scan.sets)

    @property
    def n_coils(self) -> int:
        """Number of receive coils."""
        return self.kspace.shape[1]

    @property
    def sets(self) -> int:
        """Number of map sets: with several, the maps have one axis more than k-space."""
        maps = self.coil_maps
        return maps.shape[2] if maps is not None and maps.ndim > self.kspace.ndim else 1

    @property
    def acceleration(self) -> float:
        """Samples of the full grid over `effective_samples`; for spokes ``pi / 2`` N over their number."""
        return self.effective_samples.numel() * math.prod(self.matrix) / float(self.effective_samples.sum())

    @cached_property
    def effective_samples(self) -> Tensor:
        """Measured samples of each frame, ``(batch or 1, *lead or 1)``; see `Trajectory.effective_samples`."""
        if self.trajectory is not None:
            return self.trajectory.effective_samples(self.mask)
        return (self.mask != 0).flatten(-self.ndim).sum(-1)

    @property
    def complete(self) -> bool:
        """Whether every sample of one block around the centre was measured; outside the block k-space may be zero.

        Files of fastMRI and others pad k-space with zeros; so does partial Fourier.
        """
        from resolvent.data.validation import filled

        block = None if self.trajectory is not None else filled(self.mask != 0, self.ndim)
        return block is not None and all(
            part.start <= n // 2 < part.stop for part, n in zip(block, self.matrix, strict=True)
        )

    def replace(self, **changes: object) -> Scan:
        """A copy with some fields changed."""
        return replace(self, **changes)  # pyright: ignore[reportArgumentType]

    def entry(self, number: int) -> Scan:
        """One entry of the batch: a slice of a stack, a volume or a series. Parts that all entries share are kept.

        Its own parts are contiguous in memory, so results computed from them do not depend on the other entries.

        Raises:
            DataError: there is no entry of that number.

        >>> import torch
        >>> stack = Scan(kspace=torch.ones(3, 2, 4, 4) + 0j, mask=torch.ones(1, 4, 4))
        >>> stack.entry(2).kspace.shape
        torch.Size([1, 2, 4, 4])
        """
        count = len(self.kspace)
        if not 0 <= number < count:
            there = "the only slice is 0" if count == 1 else f"the slices are 0 to {count - 1}"
            raise DataError(f"{self.source or 'the scan'} has no slice {number}: {there}. Pass another.")

        def own(shared: Tensor | None) -> Tensor | None:
            return shared if shared is None or len(shared) == 1 else shared[number : number + 1].contiguous()

        trajectory, calibration, geometry = self.trajectory, self.calibration, self.geometry
        if trajectory is not None:
            trajectory = replace(trajectory, places=own(trajectory.places))
        if calibration is not None and len(calibration.kspace) > 1:
            calibration = calibration.entry(number)
        if geometry is not None and self.ndim == 2:
            geometry = geometry.slice(number)
        return self.replace(
            kspace=own(self.kspace),
            mask=own(self.mask),
            coil_maps=own(self.coil_maps),
            reference=own(self.reference),
            geometry=geometry,
            calibration=calibration,
            trajectory=trajectory,
        )

    def validated(self) -> Scan:
        """This scan, after checking that its parts are usable and agree with each other.

        Raises:
            ShapeError, DataError: a sentence with file, part and axis, and one with the remedy (`data.validation`).
        """
        from resolvent.data.validation import check

        check(self)
        return self

    def single(self) -> Scan:
        """The same scan in single precision, in which models compute; unchanged if it is already.

        k-space in double precision is first divided by the power of two next to its largest number, as are ``noise``
        and ``reference``, and ``scale`` is multiplied by it, so data beyond the range of single precision also fit.

        >>> import torch
        >>> wide = Scan(kspace=torch.full((1, 2, 4, 4), 2e300 + 0j, dtype=torch.complex128), mask=torch.ones(1, 4, 4))
        >>> wide.single().kspace.dtype, wide.single().scale > 1e300
        (torch.complex64, True)
        """
        unit = 1.0
        if self.kspace.dtype == torch.complex128:
            unit = 2.0 ** (math.frexp(float(torch.view_as_real(self.kspace).abs().max()))[1] - 1)

        def reduced(values: Tensor | None, by: float = 1.0) -> Tensor | None:
            if values is None:
                return None
            values = values if by == 1 else _divided(values, by)
            return values.to(torch.complex64 if values.is_complex() else torch.float32)

        return self.replace(
            kspace=reduced(self.kspace, unit),
            mask=reduced(self.mask),
            coil_maps=reduced(self.coil_maps),
            reference=reduced(self.reference, unit),
            noise=None if self.noise is None else self.noise / unit,
            scale=self.scale * unit,
        )

    def normalised(self) -> Scan:
        """The same scan in units in which the largest coil-image magnitude is 1; `scale` keeps the factor.

        ``kspace``, ``noise`` and ``reference`` are divided by the largest `coil_images` of all slices and frames;
        ``scale`` is multiplied by it. Range-safe: data times 1e-30 or 1e12 give the same numbers.

        Raises:
            DataError: k-space is zero everywhere.

        >>> import torch
        >>> scan = Scan(kspace=torch.full((1, 2, 4, 4), 3.0 + 0j), mask=torch.ones(1, 4, 4)).normalised()
        >>> scan.scale, scan.kspace.abs().max().item()
        (12.0, 0.25)
        """
        peak = float(torch.view_as_real(self.kspace).abs().max())
        if not peak > 0:
            where = f" in {self.source}" if self.source else ""
            raise DataError(f"k-space is zero everywhere (kspace{where}). Check the export; there is nothing to see.")
        kspace = _divided(self.kspace, peak)
        parts = kspace.split(1 if self.trajectory is None else self.n_coils, 1)  # coil by coil where that costs nothing
        rest = max(float(coil_images(self.replace(kspace=part)).abs().max()) for part in parts)
        return self.replace(
            kspace=_divided(kspace, rest),
            noise=None if self.noise is None else self.noise / peak / rest,
            reference=None if self.reference is None else _divided(_divided(self.reference, peak), rest),
            scale=self.scale * peak * rest,
        )


def coil_images(scan: Scan) -> Tensor:
    """The zero-filled image of each coil, ``(batch, coil, *lead, *spatial)``; no maps are needed."""
    from resolvent.linop import NonCartesian, ifft

    if scan.trajectory is None:
        return ifft(scan.kspace, scan.ndim)
    lead = (1,) * (scan.kspace.ndim - 2 - scan.ndim)
    ones = torch.ones(1, scan.n_coils, *lead, *scan.matrix, dtype=scan.kspace.dtype, device=scan.kspace.device)
    A = NonCartesian(ones, scan.trajectory.places, scan.mask)
    return A.coil_images(A.compensation * scan.kspace)


def _divided(values: Tensor, by: float) -> Tensor:
    """Complex divided by real, without the squares of a complex division, which may overflow in float32."""
    if not values.is_complex():
        return values / by
    return torch.view_as_complex(torch.view_as_real(values) / by)
