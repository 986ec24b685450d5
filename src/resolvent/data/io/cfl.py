"""BART's .cfl/.hdr: complex64, up to 16 axes in Fortran order, the sizes in a text file beside it."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resolvent._errors import CorruptFileError, FormatError, ShapeError
from resolvent.data.io.limits import check_coil_images, check_unpacked, decoding
from resolvent.data.places import Trajectory
from resolvent.data.scan import Scan
from resolvent.data.validation import infer_mask
from resolvent.data.volume import Volume

READ, PHASE1, PHASE2, COIL, MAPS, SLICE = 0, 1, 2, 3, 4, 13
LEAD = (5, 10, 11, 14)
"""Axes that become lead axes, in this order: echo, time, second time, average."""
NEAREST = 3.2
"""Least extent of a trajectory, in cycles per field of view: above 1/2 (cycles per pixel) and pi (radians)."""
WRITTEN = {0: (), 1: (10,), 2: (5, 10), 3: (5, 10, 11), 4: LEAD}


def stem(path: str) -> str:
    """The path without .cfl or .hdr."""
    return path[:-4] if path.lower().endswith((".cfl", ".hdr")) else path


def read_cfl(path: str) -> Scan | Volume:
    """K-space if there is more than one coil (axis 3), else an image.

    READ is x, PHASE1 is y, PHASE2 is z, SLICE is batch. A k-space without READ (size 1) is a plane: PHASE1 is then x
    and PHASE2 is y. Images with PHASE2 are stacks of slices.

    Raises:
        CorruptFileError: the sizes of the header and the length of the file differ, or one of the two is missing.
        FormatError: an axis that has no meaning here is in use.
    """
    array = read_array(path)
    if array.shape[MAPS] > 1:
        raise FormatError(
            f"{path} holds {array.shape[MAPS]} map sets (axis 4). Pass it with --maps, and k-space as the scan."
        )
    tensor, ndim = _arrange(array, path)
    if array.shape[COIL] > 1:
        readout = -1 if array.shape[READ] > 1 else None
        return Scan(kspace=tensor, mask=infer_mask(tensor, ndim), ndim=ndim, source=path, readout=readout)
    image = tensor[:, 0]
    if ndim == 3:  # a volume is a stack of slices
        if image.shape[0] != 1:
            raise FormatError(f"{path} has both PHASE2 and SLICE (axes 2 and 13) in use. Write one volume to a file.")
        image = image[0].movedim(-3, 0)
    return Volume(image=image, source=path)


def read_cfl_along(path: str, trajectory: str) -> Scan:
    """Non-Cartesian k-space and its trajectory, as ``bart traj`` and ``bart nufft`` use them.

    k-space is (1, sample, readout, coil, ...), the trajectory (3, sample, readout, 1, ...) with the components x, y and
    z in cycles per field of view; lead axes and slices of the trajectory may have length 1. It is 2-D if all z are 0.
    The matrix is the smallest even one that holds the trajectory.

    Raises:
        CorruptFileError: as `read_cfl`.
        FormatError: other axes than these, or places in another unit.
    """
    samples, places = read_array(path), read_array(trajectory)
    if samples.shape[READ] != 1 or places.shape[READ] not in (2, 3) or places.shape[COIL] * places.shape[MAPS] != 1:
        raise FormatError(
            f"{path} has {samples.shape[READ]} numbers on axis 0 and {trajectory} {places.shape[READ]}, but k-space "
            "along a trajectory has 1 and the trajectory 3. Give the pair of files that `bart nufft` takes."
        )
    places = np.real(places).astype(np.float64)
    if places.shape[READ] == 3 and not places[2].any():
        places = places[:2]
    ndim = places.shape[READ]
    lead = tuple(axis for axis in LEAD if samples.shape[axis] > 1)
    planes = (None,) * (ndim - 2)  # the axes of samples are as many as those of the image
    kspace = _ordered(samples, (SLICE, COIL, *lead, PHASE2, PHASE1), path)[(..., *planes, slice(None), slice(None))]
    where = _ordered(places, (SLICE, *lead, PHASE2, PHASE1, READ), trajectory)[..., ::-1]
    where = where[(..., *planes, slice(None), slice(None), slice(None))]
    reach = np.abs(where).reshape(-1, ndim).max(0)
    if not np.isfinite(reach).all():
        raise CorruptFileError(f"{trajectory} has places that are not finite. Copy or export it again.")
    if reach.max() < NEAREST:
        raise FormatError(
            f"{trajectory} reaches only {reach.max():.3g} cycles per field of view, which makes an image of a few "
            "pixels. Multiply places in cycles per pixel by the matrix, those in radians by the matrix over 2 pi."
        )
    matrix = tuple(max(2, 2 * math.ceil(r - 0.01)) for r in reach)
    check_coil_images(kspace.shape, matrix, stem(path) + ".cfl")
    kspace = torch.from_numpy(np.ascontiguousarray(kspace))
    return Scan(
        kspace=kspace,
        mask=infer_mask(kspace, ndim),
        ndim=ndim,
        source=path,
        trajectory=Trajectory(torch.from_numpy(np.ascontiguousarray(where)), matrix),
    )


def read_cfl_maps(path: str, lead: int = 0) -> Tensor:
    """Coil maps (batch, coil, [set,] *lead, *spatial), as ``bart ecalib`` writes them; for `lead` see `led`."""
    array = read_array(path)
    sets = array.shape[MAPS]
    parts = [_arrange(array[(slice(None),) * MAPS + (slice(s, s + 1),)], path) for s in range(sets)]
    maps = [led(part, ndim, lead) for part, ndim in parts]
    return maps[0] if sets == 1 else torch.stack(maps, dim=2)


def led(maps: Tensor, ndim: int, lead: int) -> Tensor:
    """Maps (batch, coil, *lead, *spatial); if they have no lead axes, `lead` of length 1, which serve all frames."""
    return maps if maps.ndim > 2 + ndim else maps.reshape(*maps.shape[:2], *(1,) * lead, *maps.shape[2:])


def read_array(path: str) -> np.ndarray:
    """The 16 axes as they are in the file."""
    header, data = (path if path.lower().endswith(half) else stem(path) + half for half in (".hdr", ".cfl"))
    for half in (header, data):
        if not os.path.exists(half):
            raise CorruptFileError(f"{half} is missing; a .cfl and its .hdr belong together. Copy both files.")
    with decoding(path):
        dims = _dimensions(header)
        found = os.path.getsize(data)
        if math.prod(dims) * 8 != found:
            shown = " x ".join(map(str, dims))
            raise CorruptFileError(
                f"{data} holds {found} bytes but {header} declares {shown} complex numbers of 8 bytes. "
                "Copy or export both again."
            )
        check_unpacked(found, data, "the array")
        return np.fromfile(data, dtype="<c8").reshape(dims, order="F")


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
    spatial = (PHASE2, PHASE1, READ)
    if array.shape[PHASE2] == 1:
        spatial = (PHASE1, READ)
    elif array.shape[READ] == 1:
        spatial = (PHASE2, PHASE1)
    lead = tuple(axis for axis in LEAD if array.shape[axis] > 1)
    return torch.from_numpy(np.ascontiguousarray(_ordered(array, (SLICE, COIL, *lead, *spatial), path))), len(spatial)


def _ordered(array: np.ndarray, order: tuple[int, ...], path: str) -> np.ndarray:
    """The axes of `order`, after a check that all others have length 1."""
    rest = tuple(axis for axis in range(16) if axis not in order)
    for axis in rest:
        if array.shape[axis] > 1:
            raise FormatError(
                f"{path} uses axis {axis} (size {array.shape[axis]}), which has no meaning here. Split it."
            )
    return array.transpose(order + rest).reshape([array.shape[axis] for axis in order])


def write_cfl(path: str, values: Tensor, ndim: int, *, coils: bool) -> None:
    """Write `path` (ends in .cfl) and its .hdr directly; batch goes to SLICE, lead axes to echo and time.

    Args:
        path: the .cfl file.
        values: (batch, [coil,] *lead, *spatial).
        ndim: number of spatial axes.
        coils: whether axis 1 is the coil.

    Raises:
        ShapeError: more lead axes than the format has names for.
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
