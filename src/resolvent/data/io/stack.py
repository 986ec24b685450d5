"""Geometry of the slices of a stack or the volumes of a batch: one affine from the positions of all frames."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from resolvent.data.io.orientation import affine_from_lps, affine_from_spacing
from resolvent.data.places import Geometry

DIRECTIONS = "read_dir", "phase_dir", "slice_dir"
"""Fields of an MRD header: the unit vectors along which columns, rows and slices grow."""
DRIFT = 1.0
"""Voxels by which a frame may be displaced from the first: scanners that track the head move frames by less."""


def slice_order(numbers: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Slice counters in order of position along the slice direction; in order of the counter if that is unknown.

    Args:
        numbers: the slice counter of each head.
        heads: with ``position`` and ``slice_dir``.
    """
    slices, first = np.unique(numbers, return_index=True)
    along = (heads["position"][first] * heads["slice_dir"][first]).sum(axis=1)
    steps = np.diff(along)
    monotone = (steps > 0).all() or (steps < 0).all()
    distinct = len(np.unique(along)) == len(along)
    return slices if monotone or not distinct else slices[np.argsort(along)]


def stacked(
    heads: np.ndarray, batch: np.ndarray, matrix: tuple[int, ...], voxel: np.ndarray, warn: Callable[[str], None]
) -> Geometry:
    """The voxel ``N // 2`` of each slice or volume lies at its position; slices are as far apart as their positions.

    Only the voxel size is kept without directions, or if slices, volumes or their frames have no common affine.

    Args:
        heads: of every frame of every slice or volume, with `DIRECTIONS` and ``position`` (LPS, mm).
        batch: index of the slice or volume of each, in order of position.
        matrix: of the image, ``(y, x)`` or ``(z, y, x)``.
        voxel: size along columns, rows and slices, mm.
        warn: is told why slices or frames have no common affine.
    """
    frames, heads = heads, heads[np.unique(batch, return_index=True)[1]]
    columns, rows, depth = matrix[-1], matrix[-2], matrix[0] if len(matrix) == 3 else len(heads)
    x, y, thickness = voxel.tolist()
    unknown = Geometry(affine_from_spacing((x, y, thickness), (columns, rows, depth)), oriented=False)
    axes, positions = _axes(heads), heads["position"].astype(float)
    directions = axes[0].copy()
    if not (np.allclose(directions @ directions.T, np.eye(3), atol=1e-2) and np.isfinite(frames["position"]).all()):
        return unknown
    steps = np.diff(positions, axis=0)
    scattered = _scattered(axes, steps, len(matrix)) or _moved(frames, heads[batch], DRIFT * min(x, y, thickness))
    if scattered:
        warn(
            f"it has {scattered}, which have no common geometry: only the voxel size is kept; export each as a file of "
            "its own to keep its position"
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


def _axes(heads: np.ndarray) -> np.ndarray:
    return np.stack([heads[name] for name in DIRECTIONS], axis=1).astype(float)


def _moved(frames: np.ndarray, first: np.ndarray, drift: float) -> str:
    """In what frames differ in position from the first of their slice or volume; empty if they do not."""
    if not np.allclose(_axes(frames), _axes(first), atol=1e-2):
        return "frames in different directions"
    still = np.allclose(frames["position"], first["position"], rtol=0, atol=drift)
    return "" if still else "frames at different positions"


def _scattered(axes: np.ndarray, steps: np.ndarray, ndim: int) -> str:
    """Why slices or volumes have no common affine; empty if they have one.

    Args:
        axes: directions of readout, phase encoding and slice, of each slice or volume.
        steps: vectors from the position of each to that of the next.
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
