"""Files in and out, one module a format; nothing heavy is imported before a file of its kind is met."""

from pathlib import Path

from torch import Tensor

from resolvent.data.io.output import OutputError, check_writable
from resolvent.data.io.reading import read
from resolvent.data.io.writing import write


def read_maps(path: str | Path, ndim: int = 2, lead: int = 0) -> Tensor:
    """Coil maps (batch, coil, [set or lead,] *spatial) from .cfl, .npy or HDF5 (MATLAB's v7.3 in its order of axes).

    Without a batch axis, (coil, *spatial), one is added. Whether they fit a scan is checked by
    ``scan.replace(coil_maps=maps).validated()``.

    Args:
        path: the file.
        ndim: number of spatial axes of the scan, which tells (coil, z, y, x) from (batch, coil, y, x).
        lead: number of its lead axes: maps without any have as many of length 1, so that they serve all frames.

    Raises:
        FormatError: no maps in the file.
        ShapeError: too few axes.
    """
    from resolvent.data.io.maps import read_maps as load

    return load(path, ndim, lead)


__all__ = ["OutputError", "check_writable", "read", "read_maps", "write"]
