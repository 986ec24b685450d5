"""BART's .cfl/.hdr: complex64, up to 16 axes in Fortran order, the sizes in a text file beside it."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resolvent._errors import CorruptFileError, FormatError, ShapeError
from resolvent.data.io.limits import check_unpacked, decoding
from resolvent.data.scan import Scan, Volume
from resolvent.data.validation import infer_mask

READ, PHASE1, PHASE2, COIL, MAPS, SLICE = 0, 1, 2, 3, 4, 13
LEAD = (5, 10, 11, 14)
"""Axes that become lead axes, in this order: echo, time, second time, average."""
WRITTEN = {0: (), 1: (10,), 2: (5, 10), 3: (5, 10, 11), 4: LEAD}


def stem(path: str) -> str:
    """The path without .cfl or .hdr."""
    return path[:-4] if path.endswith((".cfl", ".hdr")) else path


def read_cfl(path: str) -> Scan | Volume:
    """K-space if there is more than one coil (axis 3), else an image.

    READ is x, PHASE1 is y, PHASE2 is z, SLICE is batch. A k-space without READ (its size is 1) is a plane: PHASE1 is
    then x and PHASE2 is y. Images with PHASE2 are stacks of slices.

    Raises:
        CorruptFileError: the sizes of the header and the length of the file differ, or one of the two is missing.
        FormatError: an axis is in use that has no meaning here.
    """
    array = read_array(path)
    if array.shape[MAPS] > 1:
        raise FormatError(
            f"{path} holds {array.shape[MAPS]} map sets (axis 4). Pass it with --maps, and k-space as the scan."
        )
    tensor, ndim = _arrange(array, path)
    if array.shape[COIL] > 1:
        return Scan(kspace=tensor, mask=infer_mask(tensor, ndim), ndim=ndim, source=path)
    image = tensor[:, 0]
    if ndim == 3:  # a volume is a stack of slices
        if image.shape[0] != 1:
            raise FormatError(f"{path} has both PHASE2 and SLICE (axes 2 and 13) in use. Write one volume to a file.")
        image = image[0].movedim(-3, 0)
    return Volume(image=image, source=path)


def read_cfl_maps(path: str) -> Tensor:
    """Coil maps (batch, coil, [set,] *spatial), as ``bart ecalib`` writes them."""
    array = read_array(path)
    sets = array.shape[MAPS]
    parts = [_arrange(array[(slice(None),) * MAPS + (slice(s, s + 1),)], path) for s in range(sets)]
    return parts[0][0] if sets == 1 else torch.stack([part for part, _ in parts], dim=2)


def read_array(path: str) -> np.ndarray:
    """The 16 axes as they are in the file."""
    base = stem(path)
    for suffix in (".hdr", ".cfl"):
        if not os.path.exists(base + suffix):
            raise CorruptFileError(f"{base}{suffix} is missing beside its other half. Copy both files.")
    with decoding(path):
        dims = _dimensions(base + ".hdr")
        found = os.path.getsize(base + ".cfl")
        if math.prod(dims) * 8 != found:
            shown = " x ".join(map(str, dims))
            raise CorruptFileError(
                f"{base}.cfl holds {found} bytes but {base}.hdr declares {shown} complex numbers of 8 bytes. "
                "Copy or export both again."
            )
        check_unpacked(found, base + ".cfl", "the array")
        return np.fromfile(base + ".cfl", dtype="<c8").reshape(dims, order="F")


def _dimensions(path: str) -> tuple[int, ...]:
    with open(path, "rb") as file:
        lines = file.read(65536).decode("ascii", errors="replace").splitlines()
    row = next((lines[n + 1] for n, line in enumerate(lines[:-1]) if line.startswith("# Dimensions")), "")
    words = row.split()
    if not words or len(words) > 16 or not all(word.isdecimal() and 0 < int(word) < 2**31 for word in words):
        raise CorruptFileError(f"{path} lists no sizes after '# Dimensions'. Copy or export it again.")
    return tuple(int(word) for word in words) + (1,) * (16 - len(words))


def _arrange(array: np.ndarray, path: str) -> tuple[Tensor, int]:
    """16 axes to (batch, coil, *lead, *spatial) and the number of spatial axes."""
    known = (READ, PHASE1, PHASE2, COIL, MAPS, SLICE, *LEAD)
    other = [axis for axis in range(16) if axis not in known and array.shape[axis] > 1]
    if other:
        raise FormatError(
            f"{path} uses axis {other[0]} (size {array.shape[other[0]]}), which has no meaning here. Split it."
        )
    spatial = (PHASE2, PHASE1, READ)
    if array.shape[PHASE2] == 1:
        spatial = (PHASE1, READ)
    elif array.shape[READ] == 1:
        spatial = (PHASE2, PHASE1)
    lead = tuple(axis for axis in LEAD if array.shape[axis] > 1)
    order = (SLICE, COIL, *lead, *spatial)
    moved = array.transpose(order + tuple(axis for axis in range(16) if axis not in order))
    return torch.from_numpy(np.ascontiguousarray(moved.reshape(moved.shape[: len(order)]))), len(spatial)


def write_cfl(path: str, values: Tensor, ndim: int, *, coils: bool) -> None:
    """Write `path` (ends in .cfl) and its .hdr, both in place; batch goes to SLICE, lead axes to echo and time.

    Args:
        path: the .cfl file.
        values: (batch, [coil,] *lead, *spatial).
        ndim: number of spatial axes.
        coils: whether axis 1 is the coil.
    """
    lead = values.ndim - ndim - (2 if coils else 1)
    if lead not in WRITTEN:
        raise ShapeError(f"a .cfl file holds at most 4 lead axes, not {lead} ({path}). Write .h5 or .npy.")
    axes = (SLICE, *((COIL,) if coils else ()), *WRITTEN[lead], *(PHASE2, PHASE1, READ)[3 - ndim :])
    dims = [1] * 16
    for axis, size in zip(axes, values.shape, strict=True):
        dims[axis] = size
    array = values.detach().cpu().to(torch.complex64).numpy()
    order = np.argsort(axes)  # ascending BART axes, the first varying fastest
    Path(stem(path) + ".hdr").write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n")
    with open(path, "wb") as file:
        array.transpose(order).ravel(order="F").astype("<c8", copy=False).tofile(file)
