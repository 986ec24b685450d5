"""Where the slices of a stack, or the volumes of a batch, lie: one affine from the position and directions of each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from resolvent.data.io.orientation import affine_from_lps, affine_from_spacing
from resolvent.data.scan import Geometry

DIRECTIONS = "read_dir", "phase_dir", "slice_dir"
"""Fields of a header in MRD: the unit vectors along which columns, rows and slices grow."""


def stacked(heads: np.ndarray, matrix: tuple[int, ...], voxel: np.ndarray, warn: Callable[[str], None]) -> Geometry:
    """The voxel ``N // 2`` of each slice or volume lies at its position; slices are as far apart as their positions.

    Voxel size only, where there are no directions, or where slices or volumes have no affine in common.

    Args:
        heads: of each slice or volume, in order, with `DIRECTIONS` and ``position`` (LPS, mm).
        matrix: of the image, ``(y, x)`` or ``(z, y, x)``.
        voxel: size along columns, rows and slices, mm.
        warn: is told what the slices lack to have an affine in common.
    """
    columns, rows, depth = matrix[-1], matrix[-2], matrix[0] if len(matrix) == 3 else len(heads)
    x, y, thickness = voxel.tolist()
    unknown = Geometry(affine_from_spacing((x, y, thickness), (columns, rows, depth)), oriented=False)
    axes = np.stack([heads[name] for name in DIRECTIONS], axis=1).astype(float)
    positions, directions = heads["position"].astype(float), axes[0]
    if not (np.allclose(directions @ directions.T, np.eye(3), atol=1e-2) and np.isfinite(positions).all()):
        return unknown
    steps = np.diff(positions, axis=0)
    scattered = _scattered(axes, steps, len(matrix))
    if scattered:
        warn(
            f"it has {scattered}, which have no geometry in common: only the voxel size is kept; export each as a file "
            "of its own to keep its place"
        )
        return unknown
    if len(matrix) == 3:
        origin = (columns // 2, rows // 2, depth // 2)
    else:
        origin = (columns // 2, rows // 2, 0)
        if len(steps):
            step = steps.mean(axis=0)
            thickness = float(np.linalg.norm(step))
            directions[2] = step / thickness
    return Geometry(affine_from_lps(positions[0], directions, np.array([x, y, thickness]), origin))


def _scattered(axes: np.ndarray, steps: np.ndarray, ndim: int) -> str:
    """What keeps slices, or volumes, from having one affine; nothing if they have one.

    Args:
        axes: directions of readout, phase encoding and slice, of each slice or volume.
        steps: from the position of each to that of the next.
        ndim: of the image.
    """
    if not np.allclose(axes, axes[0], atol=1e-2):
        return "slices in different directions" if ndim == 2 else "volumes in different directions"
    if ndim == 3:
        return "" if np.allclose(steps, 0, atol=1e-2) else "volumes at different positions"
    if not len(steps):
        return ""
    step = steps.mean(axis=0)
    length = np.linalg.norm(step)
    if abs(step @ axes[0, 2]) <= 1e-2 * length:
        return "several slices in one plane"
    return "" if np.allclose(steps, step, atol=1e-2 * length) else "slices at uneven distances"
