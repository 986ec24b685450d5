"""NIfTI images: voxel (i, j, k) is (column x, row y, slice z), and the affine is kept as it is."""

from __future__ import annotations

import gzip
import math
import os
import struct
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resolvent._errors import CorruptFileError, FormatError, ShapeError
from resolvent.data.io.limits import check_unpacked, decoding, in_single
from resolvent.data.places import Geometry
from resolvent.data.volume import Volume


def read_nifti(path: str) -> Volume:
    """``(x, y, z, *t)`` becomes ``(z as batch, *t, y, x)``, complex64; the affine, in millimetres, is the geometry.

    If the codes of sform and qform are both 0, the file gives the voxel size but no orientation.

    Raises:
        CorruptFileError: the file is shorter than its header says.
        FormatError: larger than the limit, colours, or a header/image pair.
        DataError: numbers beyond the range of single precision.
    """
    with decoding(path):
        _check_size(path)
        import nibabel

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd headers, which nibabel repairs; the numbers are checked below
            image = _loader(path, nibabel)
            array = np.asarray(image.dataobj)  # scaled by slope and intercept
            affine = np.array(image.affine, dtype=float)
            affine[:3] *= {1: 1e3, 3: 1e-3}.get(int(image.header["xyzt_units"]) & 7, 1.0)  # metres, micrometres
            oriented = bool(image.header["sform_code"] or image.header["qform_code"])
    if array.dtype.kind not in "cfiu":
        raise FormatError(f"{path} holds {array.dtype}, not grey values. Convert it to a scalar image.")
    while array.ndim < 3:
        array = array[..., None]
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if 0 in array.shape:
        raise CorruptFileError(f"{path} holds no voxels (shape {array.shape}). Export it again.")
    x, y, z, *lead = range(array.ndim)
    tensor = torch.from_numpy(in_single(array.transpose(z, *lead, y, x), path))
    usable = np.isfinite(affine).all() and np.linalg.det(affine[:3, :3]) != 0
    return Volume(image=tensor, geometry=Geometry(affine, oriented) if usable else None, source=path)


def _loader(path: str, nibabel: ModuleType) -> Any:
    """Load from the bytes: nibabel would decide by the name, but the content has already been checked."""
    opened = gzip.open(path) if _zipped(path) else open(path, "rb")
    with opened as file:
        raw = file.read()
    kind = nibabel.Nifti2Image if raw[4:8] == b"n+2\0" else nibabel.Nifti1Image
    return kind.from_bytes(raw)


def _zipped(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _check_size(path: str) -> None:
    """Compare the declared size with the length of the file before anything large is read."""
    zipped = _zipped(path)
    with gzip.open(path) if zipped else open(path, "rb") as file:
        head = file.read(540)
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        raise FormatError(f"{path} is the header of a two-file image. Convert it to one .nii file.")
    second = head[4:8] == b"n+2\0"
    end = ">" if struct.unpack_from("<i", head)[0] not in (348, 540) else "<"
    if second:
        bits = struct.unpack_from(end + "h", head, 14)[0]
        dims = struct.unpack_from(end + "8q", head, 16)
        offset = struct.unpack_from(end + "q", head, 168)[0]
    else:
        dims = struct.unpack_from(end + "8h", head, 40)
        bits = struct.unpack_from(end + "h", head, 72)[0]
        offset = int(struct.unpack_from(end + "f", head, 108)[0])
    count = dims[0]
    if not 1 <= count <= 7 or min(dims[1 : 1 + count]) < 1 or bits <= 0 or offset < 0:
        raise CorruptFileError(f"{path} declares the sizes {dims[1:]} of {count} axes. Copy or export it again.")
    size = math.prod(dims[1 : 1 + count]) * bits // 8
    check_unpacked(offset + size, path, "the image")
    if zipped:
        _check_length(path, offset + size)
    elif os.path.getsize(path) < offset + size:
        raise CorruptFileError(
            f"{path} holds {os.path.getsize(path)} bytes but its header declares {offset + size}. "
            "Copy or export it again."
        )


def _check_length(path: str, wanted: int) -> None:
    """Unpack once without keeping anything, so that a stream of another length than declared never fills the memory."""
    found = 0
    with gzip.open(path) as file:
        while block := file.read(2**20):
            found += len(block)
            if found > wanted + 2**20:
                raise FormatError(
                    f"{path} unpacks to more than the {wanted} bytes its header declares. Export it again."
                )
    if found < wanted:
        raise CorruptFileError(
            f"{path} unpacks to {found} bytes but its header declares {wanted}. Copy or export it again."
        )


def nifti_bytes(image: Tensor, ndim: int, geometry: Geometry | None, *, zipped: bool) -> bytes:
    """The file of an image (batch, *lead, *spatial) as float32; of a complex image, the magnitude.

    2-D: batch becomes z. 3-D: z is z, and batch (if more than one) the last axis. The codes of sform and qform are 1
    where the orientation is known, else 0.

    Raises:
        ShapeError: more or longer axes than the format can hold.
    """
    import nibabel

    array = (image.abs() if image.is_complex() else image).detach().cpu().to(torch.float32).numpy()
    lead = list(range(1, array.ndim - ndim))
    y, x = array.ndim - 2, array.ndim - 1
    order = [x, y, 0, *lead] if ndim == 2 else [x, y, array.ndim - 3, *lead, 0]
    array = array.transpose(order)
    if ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > 7 or max(array.shape) > 32767:
        raise ShapeError(f"NIfTI holds at most 7 axes of 32767 voxels, not {array.shape}. Write .h5 or .npy.")
    affine = np.eye(4) if geometry is None else geometry.affine
    code = int(geometry is not None and geometry.oriented)
    out = nibabel.Nifti1Image(array, affine)
    out.set_sform(affine, code=code)
    out.set_qform(affine, code=code)
    out.header.set_xyzt_units("unknown" if geometry is None else "mm")
    out.header["descrip"] = b"resolvent; magnitude" if image.is_complex() else b"resolvent"
    raw = out.to_bytes()
    return gzip.compress(raw, compresslevel=6, mtime=0) if zipped else raw
