"""Guarded decoding: declared sizes are checked against the length of the file, and damage is one error type."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from resolvent._errors import CorruptFileError, DataError, FormatError, ResolventError

LARGEST = 16 * 2**30
"""Most bytes that one array of a file may unpack to."""
RATIO = 250
"""Most unpacked bytes per byte of file: deflate reaches 1000 on constant data only, measured data stay below 30."""
SMALL = 16 * 2**20
"""Below this size the ratio is not checked: a small array does no harm."""


MATRIX = "Check the matrix in its header, or split the file."
"""Remedy for an array whose size comes from the header only."""


def check_unpacked(size: int, path: str, what: str, remedy: str = "") -> None:
    """Refuse an array of `size` bytes that is larger than the limit or than the file can plausibly hold.

    `remedy` replaces the default advice to split the file or to store it otherwise.

    Raises:
        FormatError: names the file and the array; raised from metadata, before anything is read.
    """
    if size > LARGEST:
        raise FormatError(
            f"{what} in {path} would unpack to {size / 2**30:.0f} GiB, more than the limit of {LARGEST // 2**30} GiB. "
            + (remedy or "Split the file.")
        )
    if size > SMALL and size > RATIO * os.path.getsize(path):
        raise FormatError(
            f"{what} in {path} would unpack to {size / 2**20:.0f} MiB, more than {RATIO} times the size of the file. "
            + (remedy or "Store it without such compression if it is genuine.")
        )


def check_name(path: str) -> None:
    """Refuse a name that records, pages and terminals cannot show.

    Raises:
        FormatError: its bytes are not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = path.encode(errors="replace").decode()
        raise FormatError(f"the name of {shown} is not in UTF-8, as records and reports need. Rename it.") from None


def check_coil_images(kspace: tuple[int, ...], matrix: tuple[int, ...], path: str) -> None:
    """Refuse the matrix of a trajectory, which the size of k-space does not confirm, if its images are too large.

    Held at once are the coil maps of all slices, and the coil images of all frames of one slice. Relative to k-space,
    their size is the acceleration, which is far below `RATIO`.

    Args:
        kspace: the shape of k-space, ``(batch, coil, *lead, *samples)``.
        matrix: the shape of the image.
        path: for the message.

    Raises:
        FormatError: see `check_unpacked`.
    """
    batch, coils, *lead = (*kspace[: -len(matrix)], 1, 1)  # k-space that has too few axes is refused later
    size = max(batch, math.prod(lead)) * coils * math.prod(matrix) * 8
    check_unpacked(size, path, f"coil images of the matrix {' x '.join(map(str, matrix))}", MATRIX)


def in_single(array: np.ndarray, path: str) -> np.ndarray:
    """The numbers in complex64, the type in which images are read.

    Raises:
        DataError: a finite number is beyond its range.
    """
    try:
        with np.errstate(over="raise"):
            return np.ascontiguousarray(array, dtype=np.complex64)
    except FloatingPointError as error:
        largest = np.abs(array[np.isfinite(array)]).max()
        raise DataError(f"{path} holds {largest:.2g}, beyond single precision. Scale it down first.") from error


@contextmanager
def decoding(path: str) -> Iterator[None]:
    """Turn any error of a decoder on damaged bytes into `CorruptFileError`; our own errors pass through.

    The catch is wide on purpose: for hostile bytes HDF5, zlib and numpy raise a dozen types between them, which all
    mean the same to the caller.
    """
    try:
        yield
    except ResolventError:
        raise
    except FileNotFoundError as error:
        raise FormatError(f"{error.filename or path} does not exist. Check the path.") from error
    except PermissionError as error:
        raise FormatError(f"{path} may not be read ({error.strerror}). Change its permissions.") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CorruptFileError(f"{path} is truncated or damaged ({reason}). Copy or export it again.") from error
