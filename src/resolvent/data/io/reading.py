"""`read`: a file of any known format, told from its content, as a checked `Scan` or a `Volume`."""

from __future__ import annotations

from pathlib import Path

from resolvent._errors import DataError, FormatError
from resolvent.data.io.detect import READABLE, detect
from resolvent.data.scan import Scan, Volume


def read(path: str | Path) -> Scan | Volume:
    """Read measured data as a `Scan`, images as a `Volume`.

    ISMRMRD, fastMRI, MoDL and the project's own HDF5, BART .cfl/.hdr, NIfTI and .npy. The name of the file
    decides nothing, except for .cfl, which is bare numbers. Nothing outside the file is opened, declared
    sizes are checked before they are believed, and a scan is validated (`Scan.validated`).

    Raises:
        FormatError: no such file, no known format, or larger than the limit.
        CorruptFileError: truncated or damaged.
        ShapeError, DataError: parts that contradict each other, or unusable numbers.
    """
    path = str(path)
    kind = detect(path)
    if kind == "hdf5":
        found = _read_hdf5(path)
    elif kind == "cfl":
        from resolvent.data.io.cfl import read_cfl

        found = read_cfl(path)
    elif kind == "nifti":
        from resolvent.data.io.nifti import read_nifti

        found = read_nifti(path)
    else:
        from resolvent.data.io.npy import read_npy

        found = read_npy(path)
    return found.validated() if isinstance(found, Scan) else _checked(found, path)


def _read_hdf5(path: str) -> Scan | Volume:
    from resolvent.data.io.fastmri import read_fastmri
    from resolvent.data.io.hdf5 import open_hdf5
    from resolvent.data.io.modl import is_modl, read_modl
    from resolvent.data.io.mrd import mrd_group, read_mrd
    from resolvent.data.io.native import is_native, read_native

    with open_hdf5(path) as file:
        if is_native(file):
            return read_native(file, path)
        if "kspace" in file:
            return read_fastmri(file, path)
        if is_modl(file):
            return read_modl(file, path)
        if mrd_group(file) is not None:
            return read_mrd(file, path)
        names = ", ".join(list(file)[:8]) or "none"
        raise FormatError(
            f"{path} is HDF5, but its datasets ({names}) are of no known layout. Give one of: {READABLE}."
        )


def _checked(volume: Volume, path: str) -> Volume:
    import torch

    image = volume.image
    if not torch.isfinite(torch.view_as_real(image) if image.is_complex() else image).all():
        raise DataError(f"image holds NaN or infinite values (image in {Path(path).name}). Set them to zero first.")
    return volume
