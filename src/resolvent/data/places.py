"""Positions: of the image in the patient, and of the samples of a non-Cartesian scan in k-space."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from resolvent._types import Brief

STRAIGHT = 0.99
"""Smallest cosine of the angle between a step of a readout and the radial direction for a step along a spoke."""

LEAST = 1e-3
"""Smallest count of a sample, because readouts may dwell at one position."""


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

    def effective_samples(self, mask: Tensor) -> Tensor:
        """Number of samples of a full grid that each frame is worth, ``(batch or 1, *lead or 1)``.

        A sample counts as 1, or as its distance to the nearer neighbour in its readout, in cycles per field of view, if
        that is less: oversampling of a readout adds nothing. Samples of spokes count ``2 / pi`` of that, in 2-D, in
        stacks of stars and in balls: spokes are densest in the centre, and Nyquist's one cycle per field of view at the
        border takes ``pi / 2`` times as many of them as a grid has lines. Readouts are taken for spokes if most of
        their samples move straight towards or away from DC.

        Args:
            mask: mask of the samples, as in `Scan`; samples that were not measured count nothing.

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
