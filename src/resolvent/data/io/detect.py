"""Format of a file, detected from its content; the name counts only where the content is bare numbers (.cfl)."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from resolvent._errors import CorruptFileError, FormatError, nearest
from resolvent.data.io.limits import check_name, decoding

READABLE = (
    "ISMRMRD (HDF5 or stream), fastMRI, Calgary-Campinas, CMRxRecon, MoDL or resolvent HDF5, Siemens twix, .mat, "
    "BART .cfl, NIfTI, .npy"
)
EXPECTED = {
    ".h5": "HDF5",
    ".hdf5": "HDF5",
    ".mrd": "MRD",
    ".nii": "NIfTI",
    ".gz": "NIfTI",
    ".npy": "NPY",
    ".mat": "MATLAB",
    ".dat": "Siemens twix",
    ".hdr": "BART header",
}
"""Format that the beginning of a file with this suffix should have."""
_HDF5 = b"\x89HDF\r\n\x1a\n"


def detect(path: str) -> str:
    """One of ``hdf5``, ``mrd-stream``, ``twix``, ``mat``, ``nifti``, ``npy``, ``cfl``.

    The `path` of a cfl may end in .cfl, .hdr or neither.

    Raises:
        FormatError: no such file, a folder, a format that cannot be read, or a name that is not UTF-8.
        CorruptFileError: the file is empty.
    """
    check_name(path)
    if not os.path.exists(path):
        if os.path.exists(path + ".hdr") or os.path.exists(path + ".cfl"):
            return "cfl"
        raise FormatError(f"{path} does not exist. {_meant(path)}")
    if os.path.isdir(path):
        raise FormatError(f"{path} is a folder. Give the file inside it.")
    if not os.path.isfile(path):
        raise FormatError(f"{path} is not a regular file. Give a file.")
    with decoding(path), open(path, "rb") as file:
        head = file.read(4096)
    if not head:
        raise CorruptFileError(f"{path} is empty. Copy or export it again.")
    if head.startswith(b"yardl"):
        return "mrd-stream"
    if any(head[offset : offset + 8] == _HDF5 for offset in (0, 512, 1024, 2048)):
        return "hdf5"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"MATLAB 5.0"):
        return "mat"
    if head.startswith(b"\x89PNG") or head[128:132] == b"DICM":
        kind = "PNG" if head.startswith(b"\x89PNG") else "DICOM"
        raise FormatError(f"{path} is a {kind} file, which cannot be read. Give one of: {READABLE}.")
    if _is_nifti(_inflated(head)):
        return "nifti"
    suffix = Path(path).suffix.lower()
    if (
        suffix == ".cfl"
        or head.startswith(b"# Dimensions")
        or (suffix == ".hdr" and os.path.exists(path[:-4] + ".cfl"))
    ):
        return "cfl"
    if _is_twix(head):
        return "twix"
    if suffix == ".dat" and head[8:14] == b"Config":
        raise FormatError(f"{path} is a twix file of software VB, which is not read. Convert it to ISMRMRD first.")
    if suffix in EXPECTED:
        raise CorruptFileError(f"{path} does not begin like a {EXPECTED[suffix]} file. Copy or export it again.")
    raise FormatError(f"{path} is of no known format. Give one of: {READABLE}.")


def _meant(path: str) -> str:
    """The remedy for a missing file: a file in the same folder with a similar name."""
    folder, name = os.path.split(path)
    try:
        there = os.listdir(folder or ".")
    except OSError:
        return f"There is no folder {folder}: check the path." if not os.path.isdir(folder) else "Check the path."
    stem = name.split(".")[0]  # a common suffix does not make names similar
    meant = nearest(name, [other for other in there if nearest(stem, [other.split(".")[0]], cutoff=0.75)])
    return f"Did you mean {os.path.join(folder, meant)}?" if meant else "Check the path."


def _is_twix(head: bytes) -> bool:
    """Whether it begins with a small number, the count of measurements (at most 64) and their table (VD and later)."""
    kind, count, _, _, start = struct.unpack_from("<IIIIQ", head.ljust(24, b"\0"))
    return kind < 10000 and 1 <= count <= 64 and 8 + 152 * count <= start < 2**48 and start % 8 == 0


def _inflated(head: bytes) -> bytes:
    """The first bytes of a gzip stream, or `head` itself."""
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 1024)
    except zlib.error:
        return b""


def _is_nifti(head: bytes) -> bool:
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")
