"""Position of pixels in the patient: position and direction vectors (LPS, millimetres) to an affine (RAS)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resolvent.data.places import Geometry

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def affine_from_lps(
    centre: np.ndarray, directions: np.ndarray, spacing: np.ndarray, origin: tuple[float, float, float]
) -> np.ndarray:
    """Affine with ``world(origin) = centre`` and voxel axes along `directions`.

    ``world(i) = centre + sum_a directions[a] spacing[a] (i_a - origin_a)``, then L -> R and P -> A change sign.

    Args:
        centre: LPS position in mm of the voxel `origin`.
        directions: 3 x 3, row a is the LPS unit vector along which voxel index a (column, row, slice) grows.
        spacing: voxel size along the three axes, mm.
        origin: voxel index (column, row, slice) that lies at `centre`: ``N // 2`` where the image is a centred Fourier
            transform, since the phase of every k-space sample is relative to that voxel.
    """
    axes = (np.asarray(directions, dtype=float) * np.asarray(spacing, dtype=float)[:, None]).T
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ axes
    affine[:3, 3] = LPS_TO_RAS @ (np.asarray(centre, dtype=float) - axes @ np.asarray(origin, dtype=float))
    return affine


def affine_from_spacing(spacing: tuple[float, float, float], shape: tuple[int, int, int]) -> np.ndarray:
    """Affine of a file that gives only the voxel size: axial, with its centre at the origin.

    Only the lengths are measured; the orientation is the usual one (columns to the left, rows to the back), and the
    `Geometry` made of it is not `oriented`.
    """
    origin = tuple(float(size // 2) for size in shape)
    return affine_from_lps(np.zeros(3), np.eye(3), np.asarray(spacing), origin)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Place:
    """Position of an image as in MRD and DICOM: LPS, millimetres.

    Attributes:
        corner: position of the first voxel's centre.
        centre: position of the voxel ``N // 2`` along each axis.
        directions: 3 x 3; row a is the unit vector along which voxel index a (column, row, slice) grows.
        spacing: voxel size along the three axes.
    """

    corner: np.ndarray
    centre: np.ndarray
    directions: np.ndarray
    spacing: np.ndarray


def directions_in_mrd(geometry: Geometry | None, place: Place) -> np.ndarray:
    """The directions of `place`; zero, which in MRD means not set, if the orientation is unknown."""
    return place.directions if geometry is not None and geometry.oriented else np.zeros((3, 3))


def field_in_mrd(geometry: Geometry | None, place: Place, shape: tuple[int, int, int]) -> np.ndarray:
    """Field of view in mm of an image of `shape` (columns, rows, slices); zero (unknown) without a voxel size."""
    return np.zeros(3) if geometry is None else place.spacing * shape


def place_of(geometry: Geometry | None, shape: tuple[int, int, int], first_slice: int = 0) -> Place:
    """The inverse of `affine_from_lps`; voxels of 1 mm around the origin if nothing is known.

    Args:
        geometry: of the image.
        shape: columns, rows and slices of the image.
        first_slice: its first slice, as an index of the affine.
    """
    affine = affine_from_spacing((1.0, 1.0, 1.0), shape) if geometry is None else geometry.affine
    axes = LPS_TO_RAS @ np.asarray(affine, dtype=float)[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    corner = LPS_TO_RAS @ np.asarray(affine, dtype=float)[:3, 3] + first_slice * axes[:, 2]
    middle = np.array([size // 2 for size in shape], dtype=float)
    return Place(corner=corner, centre=corner + axes @ middle, directions=(axes / spacing).T, spacing=spacing)
