"""Subjects of a data set: training, tuning and testing must not share any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from resolvent._errors import DataError, ShapeError
from resolvent.data.io import read
from resolvent.data.io.detect import detect
from resolvent.data.scan import Scan

if TYPE_CHECKING:
    import h5py

_IMAGES = ("magnitude", "image", "image_ri")
EMPTY = 0.05
"""A slice counts as empty if at most this fraction of its pixels is above this fraction of the subject's maximum."""


@dataclass(frozen=True, eq=False)
class Subject:
    """Images or a measured scan of one person (animal, phantom).

    Attributes:
        name: unique in its file.
        source: the file.
        images: ``(n, *lead, *spatial)``, real magnitudes or complex; largest magnitude 1. None for a scan.
        scan: measured k-space; None for images.
    """

    name: str
    source: str
    images: Tensor | None = None
    scan: Scan | None = None

    @property
    def phase(self) -> bool:
        """Whether the images have a phase: an imaginary part that is not zero everywhere."""
        return self.images is not None and self.images.is_complex() and bool(self.images.imag.any())


def read_subjects(path: str | Path, ndim: int = 2, trim: int = 0) -> list[Subject]:
    """The subjects of a file: every scan or image that `read` supports, and HDF5 files of image stacks.

    A stack is a dataset ``magnitude`` or ``image`` ``(slices, y, x)``, or ``image_ri`` with real and imaginary part
    along the last axis; an attribute ``scale`` multiplies it. Subjects are the groups of the file that hold a stack; or
    the values of a dataset ``subject``, one for each slice; else the file is one subject.

    Args:
        path: the file.
        ndim: 2 for slices (along all axes before the last two; empty ones are left out); 3 for one volume or one series
            of frames per subject.
        trim: number of images left out at both ends of each stack: the last planes of a resampled volume are half
            empty.

    Raises:
        FormatError, CorruptFileError: as `read`.
        DataError: a subject has no signal, or no images after trimming; a scan is not Cartesian.
        ShapeError: images have fewer than three axes, or subject ids do not fit the slices.
    """
    path = str(path)
    stacks = dict(_stacks(path)) if detect(path) == "hdf5" else {}
    if not stacks:
        found, name = read(path), Path(path).stem
        if isinstance(found, Scan):
            if found.trajectory is not None:
                raise DataError(f"{path} is not Cartesian: none of its samples can be left out. Leave that file out.")
            return [Subject(name, path, scan=found.single())]
        stacks = {name: found.image.numpy()}
    return [Subject(name, path, _prepared(stack, f"{name} in {path}", ndim, trim)) for name, stack in stacks.items()]


def in_turn(subjects: Sequence[Subject]) -> list[Subject]:
    """The first subject of each file, then the second of each, and so on.

    >>> [s.name for s in in_turn([Subject("a", "1"), Subject("b", "1"), Subject("c", "2")])]
    ['a', 'c', 'b']
    """
    files = [[s for s in subjects if s.source == source] for source in dict.fromkeys(s.source for s in subjects)]
    return [subject for turn in zip_longest(*files) for subject in turn if subject is not None]


def _stacks(path: str) -> Iterator[tuple[str, np.ndarray]]:
    import h5py  # only if there is such a file

    from resolvent.data.io.hdf5 import load, open_hdf5

    with open_hdf5(path) as file:
        if file.attrs.get("format") is not None or "kspace" in file:
            return
        for name, group in file.items():
            if isinstance(group, h5py.Group) and (stack := _stack(group, path)) is not None:
                yield name, stack
        whole = _stack(file, path)
        if whole is None:
            return
        if "subject" not in file:
            yield Path(path).stem, whole
            return
        ids = load(file["subject"], path)
        if ids.shape != whole.shape[:1]:
            raise ShapeError(f"{path} has {ids.size} subject ids for {len(whole)} slices. Give one id per slice.")
        for which in np.unique(ids):
            yield f"subject{which}", whole[ids == which]


def _stack(group: h5py.Group, path: str) -> np.ndarray | None:
    import h5py

    from resolvent.data.io.hdf5 import load, load_complex

    for name in _IMAGES:
        if isinstance(dataset := group.get(name), h5py.Dataset):
            scale = float(dataset.attrs.get("scale", 1.0))  # pyright: ignore[reportArgumentType]
            if name == "image":
                return load_complex(dataset, path) * scale
            values = load(dataset, path).astype(np.float32) * scale
            return values if name == "magnitude" else (values[..., 0] + 1j * values[..., 1]).astype(np.complex64)
    return None


def _prepared(stack: np.ndarray, what: str, ndim: int, trim: int) -> Tensor:
    if stack.ndim < 3:
        raise ShapeError(f"The images of {what} have {stack.ndim} axes. Give (slice, y, x), (z, y, x) or (t, y, x).")
    if trim and len(stack) <= 2 * trim:
        raise DataError(f"{what} has {len(stack)} images; none is left without {trim} at both ends. Trim fewer.")
    images = torch.from_numpy(np.ascontiguousarray(stack[trim : len(stack) - trim]))
    images = images.to(torch.complex64) if images.is_complex() else images.float()
    size = images.abs()
    if not bool(torch.isfinite(size).all()) or not bool((size > 0).any()):
        raise DataError(f"The images of {what} are zero or not finite. Leave that subject out.")
    images = images / size.max()
    if ndim == 3:
        return images if images.ndim > 3 else images[None]
    images = images.flatten(0, -3)
    filled = (images.abs() > EMPTY).flatten(1).float().mean(1) > EMPTY
    return images[filled] if bool(filled.any()) else images
