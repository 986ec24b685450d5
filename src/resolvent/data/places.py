"""Positions: of the image in the patient, and of the samples of a non-Cartesian scan in k-space."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from resolvent._types import Brief

STRAIGHT = 0.99
"""Cosine of the angle, of a step of a readout and the way from DC, below which it is not along a spoke."""

LEAST = 1e-3
"""What a sample is worth at least: readouts may stay at one place."""


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

    def worth(self, mask: Tensor) -> Tensor:
        """How many samples of a full grid those of each frame are worth, ``(batch or 1, *lead or 1)``.

        A sample is worth 1, or its distance to the nearer neighbour in its readout, in cycles per field of view, where
        that is less: oversampling of a readout adds nothing. Spokes are worth ``2 / pi`` of it, in 2-D, in stacks of
        stars and in balls: they lie densest in the centre, and only ``pi / 2`` times as many as a grid has lines are
        one cycle apart at the border, as Nyquist asks. They are spokes where most samples move away from or towards DC.

        Args:
            mask: of the samples, as in `Scan`; what was not measured is worth nothing.

        Source: P. E. Z. Larson et al., IEEE TMI 27:47-57 (2008): spokes are ``1 / (k_max FOV)`` apart in angle.
        """
        measured = mask != 0
        both = measured[..., 1:] & measured[..., :-1]
        step = self.places.diff(dim=-2).norm(dim=-1)
        apart = step.where(both, math.inf)
        nearer = [torch.nn.functional.pad(apart, side, value=math.inf) for side in ((1, 0), (0, 1))]
        worth = torch.minimum(*nearer).clamp(LEAST, 1) * measured
        radii = [self.places[..., -axes:].norm(dim=-1) for axes in (2, 3)]
        spokes = any(2 * ((r.diff().abs() > STRAIGHT * step) & both).sum() > both.sum() for r in radii)
        return worth.flatten(-len(self.matrix)).sum(-1) * (2 / math.pi if spokes else 1)
