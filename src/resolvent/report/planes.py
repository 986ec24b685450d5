"""Images as planes for a page: magnitude in 12 bits, phase in 8, deflated; subsampled if there are too many."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

LEVELS = 4095
"""Largest value of a stored magnitude: 12 bits, as in radiological displays."""
FLOOR_DB = -80.0
"""Level in dB, relative to the largest sample, at which k-space is drawn black."""
BUDGET = {2: 5_400_000, 3: 18_000_000}
"""Largest size in bytes of all deflated planes, by number of spatial axes; in a page they take a third more."""


@dataclass(frozen=True)
class Kept:
    """Which slices and frames a page holds, counted from 0."""

    slices: range
    frames: range

    def of(self, planes: np.ndarray) -> np.ndarray:
        """The kept planes of ``(slice, frame, y, x)``; an axis of length 1 is shared by all, and stays."""
        slices = planes if len(planes) == 1 else planes[self.slices.start :: self.slices.step]
        return slices if slices.shape[1] == 1 else slices[:, self.frames.start :: self.frames.step]


def planes(image: Tensor, ndim: int) -> np.ndarray:
    """``(batch, *lead, *spatial)`` as ``(slice, frame, y, x)``: z of volumes becomes slice, lead axes become frame."""
    values = image.detach().cpu().resolve_conj().numpy()
    batch, spatial = values.shape[0], values.shape[-ndim:]
    values = values.reshape(batch, -1, *spatial)
    if ndim == 3:
        values = np.moveaxis(values, 2, 1).reshape(batch * spatial[0], -1, *spatial[1:])
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def kept(images: list[np.ndarray], ndim: int) -> Kept:
    """All slices and frames, or as many, evenly spaced, as fit into `BUDGET` (sizes by the largest of three planes)."""
    count, frames = images[0].shape[:2]
    peak = max(float(np.abs(image).max()) for image in images) or 1.0
    places = [(count * n // 6, frames * n // 6) for n in (1, 3, 5)]
    plane = max(
        sum(len(magnitude_bytes(image[at], peak)) + len(phase_bytes(image[at])) for image in images) for at in places
    )
    plane += images[0][0, 0].size // 2
    room = max(1, BUDGET[ndim] // plane)
    thin_slices = min(count, -(-count * frames // room))
    thin_frames = max(1, -(-(-(-count // thin_slices) * frames) // room))
    return Kept(range(0, count, thin_slices), range(0, frames, thin_frames))


def magnitude_bytes(image: np.ndarray, peak: float) -> bytes:
    """``round(4095 |x| / peak)``: the low bytes of all pixels, then the high bytes, deflated."""
    levels = np.rint(np.minimum(np.abs(image) / peak, 1.0) * LEVELS).astype(np.uint16)
    return zlib.compress((levels & 255).astype(np.uint8).tobytes() + (levels >> 8).astype(np.uint8).tobytes(), 6)


def phase_bytes(image: np.ndarray) -> bytes:
    """The phase in 256 steps per turn from -pi, deflated; 0 where the image is zero, of either sign."""
    turns = np.where(image == 0, 0.0, np.angle(image)) / (2 * np.pi) + 0.5
    return zlib.compress((np.rint(turns * 256).astype(np.uint16) & 255).astype(np.uint8).tobytes(), 6)


def sampled(kspace: Tensor, mask: Tensor, ndim: int) -> tuple[np.ndarray, np.ndarray, str]:
    """k-space in decibels below its largest sample as bytes, the mask, and a description in words.

    Both arrays are ``(slice, frame, y, x)``; k-space is the root sum of squares over coils. Of a volume only one plane
    is shown: the sum over the readout (an axis along which the mask does not change), or else the central plane.
    """
    energy = kspace.detach().abs().square().sum(1).cpu().numpy()
    energy = energy.reshape(energy.shape[0], -1, *energy.shape[-ndim:])
    measured = (mask != 0).cpu().numpy()
    measured = measured.reshape(measured.shape[0], -1, *measured.shape[-ndim:])
    said = "root of the sum of squares over coils"
    if ndim == 3:
        names = ("z", "y", "x")
        readout = [axis for axis in range(2, 5) if (measured == measured.take([0], axis)).all()]
        axis = readout[-1] if readout else 2
        if readout:
            energy, said = energy.sum(axis), f"{said} and along {names[axis - 2]}"
        else:
            energy, said = energy.take(energy.shape[axis] // 2, axis), f"{said}; the central plane"
        measured = measured.take(measured.shape[axis] // 2, axis)
        said += f"; {' down, '.join(n for n in names if n != names[axis - 2])} across"
    top = max(float(energy.max()), 1e-30)
    decibels = 10 * np.log10(np.maximum(energy / top, 10 ** (FLOOR_DB / 10)))
    return np.rint(255 * (1 - decibels / FLOOR_DB)).astype(np.uint8), measured.astype(np.uint8), said


def packed(content: bytes) -> str:
    """Bytes as base64 text for a page."""
    return base64.b64encode(content).decode("ascii")


def packed_planes(name: str, image: np.ndarray, peak: float) -> dict[str, Any]:
    """One image for the viewer; an image that equals its magnitude has no phase."""
    return {
        "name": name,
        "magnitude": packed(magnitude_bytes(image, peak)),
        "phase": packed(phase_bytes(image)) if (image != np.abs(image)).any() else None,
    }
