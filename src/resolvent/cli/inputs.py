"""Reading scans and images for the commands, and the default model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resolvent.cli.naming import STREAM
from resolvent.cli.output import complain
from resolvent.cli.streams import SPOOLED, spooled

if TYPE_CHECKING:
    from resolvent._errors import ScanWarning
    from resolvent.data import Scan, Volume

MODEL = "brain-2d"


def read_scan(path: str, maps: str | None = None, dataset: str | None = None, trajectory: str | None = None) -> Scan:
    """A scan in single precision, with the maps of the file `maps` if there is one; ``-`` is standard input.

    Maps also give the matrix of a scan whose trajectory is in a separate file.

    Raises:
        FormatError: the file holds an image, or possibly one, not k-space.
        ShapeError, DataError: the maps do not fit the scan or are unusable.
    """
    from resolvent._errors import FormatError
    from resolvent.data import Scan
    from resolvent.data.io import read, read_maps
    from resolvent.data.io.detect import detect

    with spooled(path) as place:
        scan = read(place, dataset, trajectory)
        bare = not isinstance(scan, Scan) and detect(place) in ("cfl", "npy")
    if not isinstance(scan, Scan):
        if bare and scan.image.is_complex() and bool(scan.image.imag.any()):
            raise FormatError(
                f"{path} holds complex numbers without a coil axis: k-space of one coil, or an image. Make an rv.Scan "
                "of k-space in Python (how-to, Start from arrays); run `resolvent simulate` on an image first."
            )
        raise FormatError(f"{path} holds an image, not k-space. Make a scan of it with `resolvent simulate`.")
    if path == STREAM:
        lines = scan.calibration and scan.calibration.replace(source=SPOOLED)
        scan = scan.replace(source=SPOOLED, calibration=lines)
    if maps is None:
        return scan.single()
    coil_maps = read_maps(maps, scan.ndim, scan.kspace.ndim - 2 - scan.ndim)
    if trajectory is not None and scan.trajectory is not None:
        scan = scan.replace(trajectory=replace(scan.trajectory, matrix=tuple(coil_maps.shape[-scan.ndim :])))
    return scan.replace(coil_maps=coil_maps).validated().single()


@contextmanager
def hearing() -> Iterator[list[ScanWarning]]:
    """Collect the warnings of readers. If the scan is then refused, they go to stderr: they may say why."""
    from resolvent._errors import ScanWarning

    said: list[ScanWarning] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", ScanWarning)
        show = warnings.showwarning

        def hear(message: Warning | str, *where: Any) -> None:
            if isinstance(message, ScanWarning):
                said.append(message)
            else:
                show(message, *where)

        warnings.showwarning = hear
        try:
            yield said
        except Exception:
            for one in said:
                complain(f"warning: {one}")
            raise


def read_image(path: str) -> Volume:
    """A volume with a complex image.

    Raises:
        FormatError: the file holds k-space, or is a picture.
    """
    from resolvent._errors import FormatError
    from resolvent.data import Volume
    from resolvent.data.io import read

    if Path(path).is_file() and path.lower().endswith((".png", ".dcm")):
        raise FormatError(f"{path} is a picture, which is not read back. Give an image in .nii.gz, .nii, .h5 or .npy.")
    found = read(path)
    if not isinstance(found, Volume):
        raise FormatError(f"{path} holds k-space, not an image. Reconstruct it with `resolvent recon`.")
    return replace(found, image=found.image + 0j)
