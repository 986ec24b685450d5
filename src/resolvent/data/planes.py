"""A 3-D scan with a fully sampled readout is a stack of 2-D scans."""

from __future__ import annotations

from torch import Tensor

from resolvent._errors import DataError, ShapeError
from resolvent.data.scan import Scan
from resolvent.data.validation import constant

AXES = ("z", "y", "x")


def readout(scan: Scan) -> int | None:
    """The first spatial axis (0 is z) of a 3-D Cartesian volume along which the mask is constant; None if none is."""
    axes = range(3) if _is_volume(scan) else ()
    return next((axis for axis in axes if constant(scan.mask, axis - 3)), None)


def in_planes(scan: Scan, axis: int) -> Scan:
    """The 2-D scans of the planes across a fully sampled axis, along the batch; coil maps are those of the volume.

    With a mask M that is constant along the axis r, ``M F = F_r (M F_2)``: the inverse transform along r, which is
    orthonormal, leaves each plane with the 2-D scan that it would have had alone, and noise of the same level. So
    nothing is approximated: ``A^H A`` of the volume is that of the planes, one by one.

    Args:
        scan: one Cartesian 3-D volume.
        axis: 0, 1 or 2 for z, y, x.

    Raises:
        ShapeError: the scan is not one 3-D Cartesian volume.
        DataError: the mask varies along the axis, so that the planes are not independent.

    >>> import torch
    >>> mask = (torch.rand(1, 1, 6, 8) < 0.5).float().expand(1, 4, 6, 8)
    >>> in_planes(Scan(torch.randn(1, 2, 4, 6, 8) + 0j, mask, torch.ones(1, 2, 4, 6, 8) + 0j, ndim=3), 0).kspace.shape
    torch.Size([4, 2, 6, 8])
    """
    from resolvent.linop import ifft

    if not _is_volume(scan):
        raise ShapeError(
            f"the scan is not one Cartesian 3-D volume (k-space {tuple(scan.kspace.shape)}, {scan.ndim} spatial axes). "
            "Pass volumes one by one, and not a series or a trajectory."
        )
    if not constant(scan.mask, axis - 3):
        raise DataError(
            f"the mask varies along {AXES[axis]}, so the planes across it are not independent problems. "
            "Take an axis that is fully sampled, or a model for 3-D images."
        )

    def planes(volume: Tensor) -> Tensor:
        return volume[0].movedim(axis - 3, 0)

    kept = None if scan.readout == axis - 3 else scan.readout  # None: both axes of the planes are encoded
    along = ifft(scan.kspace.movedim(axis - 3, -1), 1).movedim(-1, axis - 3)
    return scan.replace(
        kspace=planes(along),
        mask=planes(scan.mask)[:1],
        coil_maps=planes(scan.maps),
        reference=None if scan.reference is None else planes(scan.reference),
        calibration=None,
        ndim=2,
        readout=None if kept is None else kept + (kept < axis - 3),
    )


def volume_of(planes: Tensor, axis: int) -> Tensor:
    """Images ``(plane, ...)`` of `in_planes` as a volume ``(1, z, y, x)``."""
    return planes.movedim(0, axis)[None]


def _is_volume(scan: Scan) -> bool:
    """Whether it is one Cartesian 3-D volume, without lead axes."""
    return scan.ndim == 3 and scan.trajectory is None and scan.kspace.ndim == 5 and len(scan.kspace) == 1
