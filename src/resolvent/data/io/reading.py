"""`read`: a file of any known format, detected from its content, as a checked `Scan` or a `Volume`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from resolvent._errors import DataError, FormatError, ShapeError
from resolvent.data.io.detect import READABLE, detect
from resolvent.data.scan import Scan
from resolvent.data.volume import Volume

if TYPE_CHECKING:
    import h5py


def read(path: str | Path, dataset: str | None = None, trajectory: str | Path | None = None) -> Scan | Volume:
    """Read measured data as a `Scan`, images as a `Volume`.

    ISMRMRD (HDF5 or stream), fastMRI, Calgary-Campinas, CMRxRecon, MoDL and the project's own HDF5, Siemens twix,
    MATLAB .mat, BART .cfl/.hdr, NIfTI and .npy. The file name does not matter, except for .cfl, which is bare
    numbers, and HDF5 named .mat, whose axes are in MATLAB's order. Nothing outside the file is opened, declared sizes
    are checked before they are used, and a scan is validated (`Scan.validated`).

    Args:
        path: the file.
        dataset: for a .mat file with several arrays, the one that is k-space; for an ISMRMRD file, the group.
        trajectory: for non-Cartesian k-space in a .cfl file, the .cfl file of its trajectory.

    Raises:
        FormatError: no such file, no known format, or larger than the limit.
        CorruptFileError: truncated or damaged.
        ShapeError, DataError: parts that contradict each other, or unusable numbers.
    """
    path = str(path)
    kind = detect(path)
    if trajectory is not None and kind != "cfl":
        raise FormatError(f"{path} is no .cfl file, so its trajectory, if any, is in it. Leave out the other.")
    if kind not in ("hdf5", "mat"):
        _without_names(path, dataset)
    if kind == "hdf5":
        found = _read_hdf5(path, dataset)
    elif kind == "mat":
        from resolvent.data.io.mat import read_mat5

        found = read_mat5(path, dataset)
    elif kind == "mrd-stream":
        from resolvent.data.io.mrd_stream import read_mrd_stream

        found = read_mrd_stream(path)
    elif kind == "twix":
        from resolvent.data.io.twix import read_twix

        found = read_twix(path)
    elif kind == "cfl":
        from resolvent.data.io.cfl import read_cfl, read_cfl_along

        found = read_cfl(path) if trajectory is None else read_cfl_along(path, str(trajectory))
    elif kind == "nifti":
        from resolvent.data.io.nifti import read_nifti

        found = read_nifti(path)
    else:
        from resolvent.data.io.npy import read_npy

        found = read_npy(path)
    return found.validated() if isinstance(found, Scan) else _checked(found, path)


def format_of(path: str) -> str:
    """Human-readable name of a file's format."""
    kind = detect(path)
    if kind == "hdf5":
        from resolvent.data.io.hdf5 import open_hdf5

        with open_hdf5(path) as file:
            return _layout(file, path)
    names = {"nifti": "NIfTI", "cfl": "BART .cfl", "npy": ".npy", "mat": "MATLAB .mat", "twix": "Siemens twix"}
    return names.get(kind, "MRD stream")


def _layout(file: h5py.File, path: str) -> str:
    """Which of the layouts an HDF5 file has.

    Raises:
        FormatError: no known layout.
    """
    from resolvent.data.io.calgary import is_calgary
    from resolvent.data.io.mat import is_mat73
    from resolvent.data.io.modl import is_modl
    from resolvent.data.io.mrd import mrd_groups
    from resolvent.data.io.mrd_image import image_groups
    from resolvent.data.io.native import is_native

    if is_native(file):
        return "resolvent HDF5"
    if is_mat73(file):
        return "MATLAB .mat"
    if is_calgary(file):
        return "Calgary-Campinas HDF5"
    if "kspace" in file:
        return "fastMRI HDF5"
    if is_modl(file):
        return "MoDL HDF5"
    if mrd_groups(file):
        return "ISMRMRD HDF5"
    if image_groups(file):
        return "ISMRMRD images"
    names = ", ".join(list(file)[:8]) or "none"
    raise FormatError(f"{path} is HDF5, but its datasets ({names}) are of no known layout. Give one of: {READABLE}.")


def _read_hdf5(path: str, dataset: str | None) -> Scan | Volume:
    from resolvent.data.io.calgary import read_calgary
    from resolvent.data.io.fastmri import read_fastmri
    from resolvent.data.io.hdf5 import open_hdf5
    from resolvent.data.io.mat import read_mat73
    from resolvent.data.io.modl import read_modl
    from resolvent.data.io.mrd import read_mrd
    from resolvent.data.io.mrd_image import read_mrd_images
    from resolvent.data.io.native import read_native

    readers = {
        "resolvent HDF5": read_native,
        "Calgary-Campinas HDF5": read_calgary,
        "fastMRI HDF5": read_fastmri,
        "MoDL HDF5": read_modl,
        "ISMRMRD images": read_mrd_images,
    }
    with open_hdf5(path) as file:
        layout = _layout(file, path)
        if layout == "MATLAB .mat":
            return read_mat73(file, path, dataset)
        if layout == "ISMRMRD HDF5":
            return read_mrd(file, path, dataset)
        _without_names(path, dataset)
        return readers[layout](file, path)


def _without_names(path: str, dataset: str | None) -> None:
    """Refuse the name of an array or a group for a format that has nothing to choose."""
    if dataset is not None:
        raise FormatError(f"{path} is no .mat or ISMRMRD file, so {dataset} cannot be chosen. Leave out --dataset.")


def _checked(volume: Volume, path: str) -> Volume:
    import torch

    image, ndim = volume.image, volume.ndim
    if image.ndim < 1 + ndim or 0 in image.shape:
        raise ShapeError(
            f"image has shape {tuple(image.shape)} but needs (batch, *lead, {'z, ' * (ndim == 3)}y, x), none of them "
            f"empty (image in {Path(path).name}). Reshape it."
        )
    if not torch.isfinite(torch.view_as_real(image) if image.is_complex() else image).all():
        raise DataError(f"image holds NaN or infinite values (image in {Path(path).name}). Set them to zero first.")
    return volume
