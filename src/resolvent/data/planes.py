"""Conversion of a 3-D scan with a fully sampled readout to a stack of 2-D scans."""

from __future__ import annotations

import torch
from torch import Tensor

from resolvent._errors import DataError, ShapeError
from resolvent.data.scan import Scan
from resolvent.data.validation import constant

AXES = ("z", "y", "x")


def readout(scan: Scan) -> int | None:
    """The first spatial axis (0 is z) of 3-D Cartesian volumes along which the mask is constant; None if none is."""
    axes = range(3) if _are_volumes(scan) else ()
    return next((axis for axis in axes if constant(scan.mask, axis - 3)), None)


def in_planes(scan: Scan, axis: int) -> Scan:
    """The 2-D scans of the planes across a fully sampled axis, along the batch; coil maps are those of the volume.

    With a mask M that is constant along the axis r, ``M F = F_r (M F_2)``: after the inverse transform along r, which
    is orthonormal, each plane has its own 2-D scan, with noise of the same level. Nothing is approximated: ``A^H A`` of
    the volume acts on each plane separately.

    Args:
        scan: one or several Cartesian 3-D volumes; their planes follow each other along the batch.
        axis: 0, 1 or 2 for z, y, x.

    Raises:
        ShapeError: the scan holds no 3-D Cartesian volumes, or a series of them.
        DataError: the mask varies along the axis, so the planes are not independent.

    >>> import torch
    >>> mask = (torch.rand(1, 1, 6, 8) < 0.5).float().expand(1, 4, 6, 8)
    >>> in_planes(Scan(torch.randn(1, 2, 4, 6, 8) + 0j, mask, torch.ones(1, 2, 4, 6, 8) + 0j, ndim=3), 0).kspace.shape
    torch.Size([4, 2, 6, 8])
    """
    from resolvent.linop import ifft

    if not _are_volumes(scan):
        raise ShapeError(
            f"the scan is no Cartesian 3-D volume (k-space {tuple(scan.kspace.shape)}, {scan.ndim} spatial axes). "
            "Pass volumes, and not a series or a trajectory."
        )
    if not constant(scan.mask, axis - 3):
        raise DataError(
            f"the mask varies along {AXES[axis]}, so the planes across it are not independent problems. "
            "Take an axis that is fully sampled, or a model for 3-D images."
        )

    def planes(volumes: Tensor) -> Tensor:
        return volumes.movedim(axis - 3, 1).flatten(0, 1)

    kept = None if scan.readout == axis - 3 else scan.readout  # None: both axes of the planes are encoded
    lines = scan.kspace.movedim(axis - 3, -1)
    return scan.replace(
        kspace=torch.cat([ifft(one, 1).movedim(-1, 1).flatten(0, 1) for one in lines.split(1)]),  # volume by volume
        mask=planes(scan.mask)[: 1 if len(scan.mask) == 1 else None],
        coil_maps=planes(scan.maps.expand(len(scan.kspace), -1, -1, -1, -1)),
        reference=None if scan.reference is None else planes(scan.reference),
        calibration=None,
        ndim=2,
        readout=None if kept is None else kept + (kept < axis - 3),
    )


def volumes_of(planes: Tensor, axis: int, depth: int) -> Tensor:
    """Images ``(plane, ...)`` of `in_planes` as volumes ``(batch, z, y, x)`` of `depth` planes each."""
    return planes.unflatten(0, (-1, depth)).movedim(1, axis + 1)


def _are_volumes(scan: Scan) -> bool:
    """Whether the scan holds Cartesian 3-D volumes without lead axes."""
    return scan.ndim == 3 and scan.trajectory is None and scan.kspace.ndim == 5
