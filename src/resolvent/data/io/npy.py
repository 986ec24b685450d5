"""NumPy's .npy: complex images as they are, without geometry."""

from __future__ import annotations

import math
import os

import numpy as np
import torch

from resolvent._errors import CorruptFileError, FormatError, ShapeError
from resolvent.data.io.limits import check_unpacked, decoding, in_single
from resolvent.data.volume import Volume


def read_npy_array(path: str) -> np.ndarray:
    """A complex array; objects (pickles) are refused and the length of the file is checked first.

    Raises:
        FormatError: not numbers.
        CorruptFileError: the file is shorter than it says.
        DataError: real numbers of double precision beyond the range of single precision.
    """
    with decoding(path):
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            start = file.tell()
        if dtype.hasobject or dtype.kind not in "cfiub":
            raise FormatError(f"{path} holds {dtype}, not numbers. Save a complex or real array.")
        size = math.prod(shape) * dtype.itemsize
        check_unpacked(math.prod(shape) * 16, path, "the array")
        if start + size > os.path.getsize(path) or size == 0:
            raise CorruptFileError(
                f"{path} is shorter than the {size} bytes it declares, or empty. Copy or export it again."
            )
        array = np.load(path, allow_pickle=False)
        return np.ascontiguousarray(array, np.complex128) if dtype.itemsize == 16 else in_single(array, path)


def read_npy(path: str) -> Volume:
    """An image: (y, x), (slice, y, x) or (slice, *lead, y, x).

    Raises:
        ShapeError: fewer than two axes.
    """
    array = read_npy_array(path)
    if array.ndim < 2:
        raise ShapeError(f"{path} has shape {array.shape}, but an image needs (y, x) or (slice, y, x). Reshape it.")
    return Volume(image=torch.from_numpy(array[None] if array.ndim == 2 else array), source=path)
