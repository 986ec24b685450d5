"""Positions: of the image in the patient, and of the samples of a non-Cartesian scan in k-space."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from resolvent._types import Brief


@dataclass(frozen=True, eq=False)
class Geometry:
    """Position of the image in the patient: the RAS+ world coordinates of NIfTI, in millimetres.

    Attributes:
        affine: 4 x 4; maps the voxel index ``(column x, row y, slice z, 1)`` to the world point ``(R, A, S, 1)``.
        oriented: False if only the voxel size is known; position and orientation of the affine are then meaningless.
    """

    affine: np.ndarray
    oriented: bool = True

    def slice(self, number: int) -> Geometry:
        """The geometry of one slice, whose voxels then have ``z = 0``."""
        affine = self.affine.copy()
        affine[:3, 3] += number * affine[:3, 2]
        return replace(self, affine=affine)


def aspect_of(geometry: Geometry | None) -> float:
    """Height over width of a pixel; 1 if unknown.

    >>> aspect_of(Geometry(np.diag([2.0, 3.0, 5.0, 1.0]))), aspect_of(None)
    (1.5, 1.0)
    """
    width, height = (0.0, 0.0) if geometry is None else np.linalg.norm(geometry.affine[:3, :2], axis=0)
    return float(height / width) if width > 0 and height > 0 else 1.0


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory(Brief):
    """Where the samples of a non-Cartesian scan lie.

    Attributes:
        places: in cycles per field of view, ``(batch or 1, *lead or 1, *samples, axis)``, components in the order of
            the spatial axes; there are as many axes of samples as spatial ones, see `resolvent.linop.NonCartesian`.
        matrix: spatial shape of the image to reconstruct, ``(y, x)`` or ``(z, y, x)``.
    """

    places: Tensor
    matrix: tuple[int, ...]
