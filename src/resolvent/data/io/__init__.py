"""Files in and out, one module a format; nothing heavy is imported before a file of its kind is met."""

from pathlib import Path

from torch import Tensor

from resolvent.data.io.output import OutputError, check_writable
from resolvent.data.io.reading import read
from resolvent.data.io.writing import write


def read_maps(path: str | Path, ndim: int = 2) -> Tensor:
    """Coil maps from .cfl, .npy or HDF5; see `resolvent.data.io.maps.read_maps`."""
    from resolvent.data.io.maps import read_maps as load

    return load(path, ndim)


__all__ = ["OutputError", "check_writable", "read", "read_maps", "write"]
