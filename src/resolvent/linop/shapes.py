"""Checks that arrays fit an operator, and a mask its maps: axes, number of samples, values."""

from __future__ import annotations

import torch
from torch import Tensor

from resolvent._errors import DataError, ShapeError


def fits(shape: tuple[int, ...], lead: tuple[int, ...], last: tuple[int, ...]) -> bool:
    """Whether `shape` is (lead, last); lead axes of length 1 in the operator fit any length.

    >>> fits((7, 4, 4), (1,), (4, 4)), fits((7, 4, 4), (5,), (4, 4))
    (True, False)
    """
    lead_fits = all(theirs == ours or ours == 1 for theirs, ours in zip(shape, lead, strict=False))
    return len(shape) == len(lead) + len(last) and lead_fits and tuple(shape[len(lead) :]) == last


def check_batch(batch: int, array: Tensor, name: str) -> None:
    """Refuse an array whose number of samples is not the `batch` of the operator, unless that is 1.

    Raises:
        ShapeError: the numbers differ.
    """
    if batch not in (1, array.shape[0]):
        raise ShapeError(
            f"{name} has {array.shape[0]} samples (axis 0) but the operator has {batch}. "
            "Pass equal numbers, or an operator of one sample to share it."
        )


def image_mask(mask: Tensor, maps: Tensor, first: int, ndim: int) -> Tensor:
    """The mask in image layout ``(batch or 1, *lead or 1, *spatial)``.

    Args:
        mask: in that layout, or only spatial, or with a coil axis of length 1.
        maps: the coil maps that it has to fit.
        first: index of the first lead or spatial axis of the maps.
        ndim: number of spatial axes.

    Raises:
        ShapeError: mask and maps do not fit together.
    """
    axes = maps.ndim - first + 1  # of an image: batch, lead, spatial
    if mask.ndim == axes + 1 and mask.shape[1] == 1:
        mask = mask.squeeze(1)
    if mask.ndim == ndim:
        mask = mask.reshape((1,) * (axes - ndim) + mask.shape)
    if mask.ndim != axes:
        raise ShapeError(
            f"mask has {mask.ndim} axes {tuple(mask.shape)} but maps {tuple(maps.shape)} need {axes}: "
            "(batch or 1, *lead or 1, *spatial). For a dynamic scan give the maps a lead axis of length 1."
        )
    if mask.shape[-ndim:] != maps.shape[-ndim:]:
        raise ShapeError(
            f"mask has the matrix {tuple(mask.shape[-ndim:])} but the maps have {tuple(maps.shape[-ndim:])} "
            "(the spatial axes). Pass mask and maps of the same scan."
        )
    pairs = zip((mask.shape[0], *mask.shape[1:-ndim]), (maps.shape[0], *maps.shape[first:-ndim]), strict=True)
    for axis, (a, b) in enumerate(pairs):
        if a != b and 1 not in (a, b):
            raise ShapeError(
                f"mask has length {a} but the maps {b} on {'the batch axis' if axis == 0 else f'lead axis {axis}'}. "
                "Pass equal lengths, or 1 to share."
            )
    return mask


def check_maps_and_mask(maps: Tensor, mask: Tensor) -> None:
    """Refuse maps and masks (in image layout) with which nothing can be measured.

    Raises:
        DataError: maps or mask are not finite or all zero, or the mask has values outside [0, 1].
    """
    if not bool(torch.isfinite(maps).all()):
        raise DataError(
            "maps hold NaN or infinite values. Estimate them again, or set them to zero outside the object."
        )
    if not bool(maps.detach().abs().amax() > 0):
        raise DataError("maps are zero everywhere. Estimate them again from data with signal.")
    weights = mask.detach()
    if weights.is_complex() or not bool(((weights >= 0) & (weights <= 1)).all()):
        raise DataError("mask has values outside [0, 1]. Pass 1 where k-space was measured and 0 elsewhere.")
    empty = (weights == 0).flatten(1).all(1)
    if bool(empty.any()):
        raise DataError(
            f"mask of sample {int(empty.nonzero()[0])} is empty: nothing was measured. Pass a mask with ones."
        )
