"""The project's own HDF5 (attribute ``format = "resolvent"``): a `Scan` or an image, bit for bit."""

from __future__ import annotations

import h5py
import numpy as np
import torch
from torch import Tensor

from resolvent._errors import FormatError
from resolvent._version import __version__
from resolvent.data.io.hdf5 import load, required, text
from resolvent.data.io.limits import check_coil_images
from resolvent.data.places import Geometry, Trajectory
from resolvent.data.scan import Scan
from resolvent.data.volume import Volume

FORMAT = "resolvent"
LAYOUT = 2
"""Version of the layout; a file with a larger one is refused. 1 has no trajectory."""
_ARRAYS = ("kspace", "mask", "coil_maps", "reference")


def is_native(file: h5py.File) -> bool:
    """Whether the file declares this format."""
    return "format" in file.attrs and text(file.attrs["format"]) == FORMAT


def read_native(file: h5py.File, path: str) -> Scan | Volume:
    """Read what `write_native_scan` or `write_native_image` wrote.

    Raises:
        FormatError: written by a later version, or neither scan nor image.
    """
    layout = int(_number(file, "layout", 0))
    if layout > LAYOUT:
        raise FormatError(f"{path} has layout {layout} but this version reads up to {LAYOUT}. Update resolvent.")
    kind = text(file.attrs.get("kind", ""))
    ndim = int(_number(file, "ndim", 2))
    if kind not in ("scan", "image") or ndim not in (2, 3):
        raise FormatError(
            f"{path} holds a {kind or 'nothing'} of {ndim} axes, not a scan or an image. Export it again."
        )
    if kind == "image":
        image = _tensor(required(file, "image", path), path)
        return Volume(image=image, geometry=_geometry(file), source=path, ndim=ndim, counters=_counters(file))
    return _read_scan(file, path, ndim)


def _read_scan(group: h5py.Group, path: str, ndim: int) -> Scan:
    arrays = {name: _tensor(required(group, name, path), path) for name in _ARRAYS if name in group}
    if not {"kspace", "mask"} <= arrays.keys():
        raise FormatError(f"{path} is a scan without kspace or mask. Export it again.")
    trajectory, inner = _trajectory(group, path, ndim), group.get("calibration")
    if trajectory is not None:
        check_coil_images(arrays["kspace"].shape, trajectory.matrix, path)
    return Scan(
        **arrays,  # pyright: ignore[reportArgumentType]
        noise=_number(group, "noise", 0.0) if "noise" in group.attrs else None,
        geometry=_geometry(group),
        scale=_number(group, "scale", 1.0),
        ndim=ndim,
        source=path,
        calibration=_read_scan(inner, path, ndim) if isinstance(inner, h5py.Group) and group.name == "/" else None,
        trajectory=trajectory,
        readout=int(_number(group, "readout", 0)) or None,
        counters=_counters(group),
    )


def _trajectory(group: h5py.Group, path: str, ndim: int) -> Trajectory | None:
    if "trajectory" not in group:
        return None
    matrix = tuple(int(n) for n in np.asarray(group["trajectory"].attrs.get("matrix", ())).ravel())
    if len(matrix) != ndim or not all(0 < n < 2**16 for n in matrix):
        raise FormatError(f"{path} has a trajectory for the matrix {matrix}, not {ndim} sizes. Export it again.")
    return Trajectory(_tensor(required(group, "trajectory", path), path).double(), matrix)


def write_native_scan(path: str, scan: Scan) -> None:
    """Write every field of the scan; `source` is kept as an attribute, but on reading becomes the new path."""
    with h5py.File(path, "w") as file:
        _head(file, "scan", scan.ndim)
        _fill(file, scan)
        if scan.calibration is not None:
            _fill(file.create_group("calibration"), scan.calibration)


def _fill(group: h5py.Group, scan: Scan) -> None:
    for name in _ARRAYS:
        values = getattr(scan, name)
        if values is not None:
            group.create_dataset(name, data=values.detach().cpu().resolve_conj().numpy())
    if scan.trajectory is not None:
        places = scan.trajectory.places.detach().cpu().numpy()
        group.create_dataset("trajectory", data=places).attrs["matrix"] = scan.trajectory.matrix
    if scan.noise is not None:
        group.attrs["noise"] = scan.noise
    if scan.readout is not None:
        group.attrs["readout"] = scan.readout
    _place(group, scan.geometry, scan.counters)
    group.attrs["scale"] = scan.scale
    group.attrs["source"] = scan.source


def write_native_image(
    path: str, image: Tensor, ndim: int, geometry: Geometry | None, record: str, counters: tuple[str, ...] = ()
) -> None:
    """Write the image with its phase, its geometry, and the record (JSON) of how it was made."""
    with h5py.File(path, "w") as file:
        _head(file, "image", ndim)
        file.create_dataset("image", data=image.detach().cpu().resolve_conj().numpy())
        file.create_dataset("record", data=record)
        _place(file, geometry, counters)


def _head(file: h5py.File, kind: str, ndim: int) -> None:
    file.attrs.update({"format": FORMAT, "layout": LAYOUT, "kind": kind, "ndim": ndim, "version": __version__})


def _place(group: h5py.Group, geometry: Geometry | None, counters: tuple[str, ...]) -> None:
    if counters:
        group.attrs["counters"] = " ".join(counters)
    if geometry is not None:
        group.attrs.update({"affine": geometry.affine, "oriented": geometry.oriented})


def _geometry(group: h5py.Group) -> Geometry | None:
    if "affine" not in group.attrs:
        return None
    affine = np.asarray(group.attrs["affine"])
    usable = affine.shape == (4, 4) and np.isfinite(affine).all() and np.linalg.det(affine[:3, :3]) != 0
    return Geometry(affine, oriented=bool(_number(group, "oriented", 1))) if usable else None


def _counters(group: h5py.Group) -> tuple[str, ...]:
    return tuple(text(group.attrs.get("counters", "")).split())


def _number(group: h5py.Group, name: str, missing: float) -> float:
    return float(np.asarray(group.attrs.get(name, missing)).item())


def _tensor(dataset: h5py.Dataset, path: str) -> Tensor:
    values = load(dataset, path)
    if values.dtype.kind not in "cfiub" or values.ndim == 0:
        raise FormatError(f"dataset {dataset.name} in {path} holds {values.dtype}, not numbers. Export it again.")
    return torch.from_numpy(values)
