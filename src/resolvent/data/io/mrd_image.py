"""Images in ISMRMRD HDF5 (.mrd): one image per slice and frame, with its place (writing needs the extra ``mrd``)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import h5py
import numpy as np
import torch
from torch import Tensor

from resolvent._errors import CorruptFileError, ScanWarning, ShapeError
from resolvent.data.io.hdf5 import load, load_complex, required
from resolvent.data.io.lines import framed, in_use
from resolvent.data.io.orientation import directions_in_mrd, field_in_mrd, place_of
from resolvent.data.io.packages import package
from resolvent.data.io.stack import slice_order, stacked
from resolvent.data.places import Geometry
from resolvent.data.volume import Volume

COMPLEX, MAGNITUDE = 5, 1
"""Image types of the format."""


def image_groups(file: h5py.File) -> list[h5py.Group]:
    """The groups of images (``header`` and ``data``) of an ISMRMRD file."""
    datasets = [dataset for dataset in file.values() if isinstance(dataset, h5py.Group)]
    items = [item for dataset in datasets for item in dataset.values()]
    return [item for item in items if isinstance(item, h5py.Group) and {"header", "data"} <= set(item)]


def read_mrd_images(file: h5py.File, path: str) -> Volume:
    """The images of the first group; a `ScanWarning` names any others. See `volume_of`."""
    group, *others = image_groups(file)
    if others:
        names = [(one.name or "").strip("/") for one in (group, *others)]
        shown = f"it holds {len(names)} series of images ({', '.join(names[:8])})"
        said = f"{shown} of which {names[0]} is read; export the others as separate files"
        warnings.warn(ScanWarning(path, said), stacklevel=4)
    heads, data = load(required(group, "header", path), path), load_complex(required(group, "data", path), path)
    return volume_of(heads, data, path)


def volume_of(heads: np.ndarray, data: np.ndarray, path: str) -> Volume:
    """Images of one channel: slices become batch, counters in use become lead axes, images with depth are 3-D.

    Args:
        heads: one record per image, with the names of the format.
        data: complex (image, channel, z, y, x).
        path: for messages.

    Raises:
        ShapeError: several channels, or not one image for each slice and frame.
        CorruptFileError: images without a pixel.
    """
    if data.size == 0:
        raise CorruptFileError(f"{path} holds images of the shape {data.shape}, without a pixel. Export it again.")
    if data.ndim != 5 or data.shape[1] != 1 or len(heads) != len(data):
        raise ShapeError(f"{path} holds images of the shape {data.shape}, not one channel each. Combine the coils.")
    counters = in_use(heads)
    batch, frame, shape = framed(heads, slice_order(heads["slice"], heads))
    if not len(np.unique(frame)) == len(heads) == math.prod(shape):
        raise ShapeError(
            f"{path} holds {len(heads)} images, not one for each slice and {' and '.join(counters) or 'no more'}. "
            "Split the file."
        )
    order, ndim = np.argsort(frame), 3 if data.shape[2] > 1 else 2
    image = data[order, 0].reshape(*shape, *data.shape[5 - ndim :])
    geometry = _geometry(heads[order], batch[order], data.shape[2:], path)
    return Volume(torch.from_numpy(np.ascontiguousarray(image)), geometry, path, ndim, counters)


def _geometry(heads: np.ndarray, batch: np.ndarray, shape: tuple[int, ...], path: str) -> Geometry | None:
    """Geometry of images ``(z, y, x)``, each of slice or volume `batch`; None without a field of view."""
    voxel = heads[0]["field_of_view"] / np.array(shape[::-1], dtype=float)
    if not (np.isfinite(voxel).all() and (voxel > 0).all()):
        return None
    matrix = shape if shape[0] > 1 else shape[1:]
    return stacked(heads, batch, matrix, voxel, lambda text: warnings.warn(ScanWarning(path, text), stacklevel=6))


def write_mrd_images(
    path: str, image: Tensor, ndim: int, geometry: Geometry | None, record: str, counters: tuple[str, ...] = ()
) -> None:
    """Write `path`: complex images keep their phase; the record (JSON) is an attribute of every image.

    Raises:
        FormatError: ismrmrd is not installed.
    """
    ismrmrd = package("ismrmrd")
    kind = COMPLEX if image.is_complex() else MAGNITUDE
    with warnings.catch_warnings(), ismrmrd.Dataset(path, "dataset") as dataset:
        warnings.simplefilter("ignore")
        for number, (batch, counts, block) in enumerate(blocks(image, ndim, counters)):
            place = place_of(geometry, block.shape[::-1], first_slice=batch if ndim == 2 else 0)
            directions = directions_in_mrd(geometry, place)
            one = ismrmrd.Image.from_array(
                block,
                transpose=False,
                image_type=kind,
                field_of_view=tuple(field_in_mrd(geometry, place, block.shape[::-1])),
                position=tuple(place.centre),
                read_dir=tuple(directions[0]),
                phase_dir=tuple(directions[1]),
                slice_dir=tuple(directions[2]),
                slice=batch,
                image_index=number,
                **counts,
            )
            one.meta = ismrmrd.Meta({"resolvent": record})
            dataset.append_image("image_0", one)


def blocks(
    image: Tensor, ndim: int, counters: tuple[str, ...] = ()
) -> Iterator[tuple[int, dict[str, int], np.ndarray]]:
    """Batch index, counts and block (z, y, x) of an image (batch, *lead, *spatial), in single precision.

    Counts are named as in `counters`; if these are not one for each lead axis, all frames are counted as "repetition".
    """
    values = image.detach().cpu().resolve_conj().numpy()
    values = values.astype(np.complex64 if np.iscomplexobj(values) else np.float32)
    flat = values.reshape(len(values), -1, *([1] * (3 - ndim)), *values.shape[-ndim:])
    lead = values.shape[1:-ndim]
    for batch in range(flat.shape[0]):
        for frame, place in enumerate(np.ndindex(*lead)):
            counts = dict(zip(counters, place, strict=True)) if len(counters) == len(lead) else {}
            yield batch, counts or {"repetition": frame}, np.ascontiguousarray(flat[batch, frame])
