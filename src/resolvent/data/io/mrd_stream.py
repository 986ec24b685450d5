"""MRD version 2, the binary stream: reading acquisitions, reading and writing images (extra ``mrd``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from torch import Tensor

from resolvent._errors import CorruptFileError, FormatError, ShapeError
from resolvent.data.io import acquisitions
from resolvent.data.io.limits import check_unpacked, decoding, in_single
from resolvent.data.io.lines import LEAD
from resolvent.data.io.mrd_header import RAMP_TIMES, MRDHeader, Space
from resolvent.data.io.mrd_image import blocks, volume_of
from resolvent.data.io.orientation import directions_in_mrd, field_in_mrd, place_of
from resolvent.data.io.packages import package
from resolvent.data.places import Geometry
from resolvent.data.scan import Scan
from resolvent.data.volume import Volume

COUNTERS = tuple(acquisitions.HEAD["idx"].names or ())
NUMBERS = ("discard_pre", "discard_post", "encoding_space_ref", "sample_time_us")
VECTORS = ("position", "read_dir", "phase_dir", "slice_dir")

IMAGE = {
    **{name: (name, "i8") for name in ("slice", *LEAD)},
    **{name: (name, "3f4") for name in ("field_of_view", "position", "slice_dir")},
    "col_dir": ("read_dir", "3f4"),
    "line_dir": ("phase_dir", "3f4"),
}
"""The fields of an image header that are used, with their names and types in the HDF5 of MRD."""


def read_mrd_stream(path: str) -> Scan | Volume:
    """The acquisitions of a stream file as a scan, or its images if it has no acquisitions.

    See `resolvent.data.io.acquisitions.scan_of` and `resolvent.data.io.mrd_image.volume_of`.

    Raises:
        FormatError: mrd-python is not installed, no header, no image lines, or not Cartesian and without places.
        CorruptFileError: the stream ends early, is damaged, or is followed by more data.
        ShapeError: images that differ in shape, of several channels, or not one for each slice and frame.
    """
    mrd = package("mrd")
    heads, lines, places, images = [], [], [], []
    with decoding(path), _whole(path), open(path, "rb") as file, mrd.BinaryMrdReader(file) as reader:
        reader._stream = _bounded(reader._stream, os.path.getsize(path))
        header = reader.read_header()
        for item in reader.read_data():
            if isinstance(item, mrd.StreamItem.Acquisition):
                heads.append(_head(item.value))
                lines.append(np.ascontiguousarray(item.value.data, dtype=np.complex64).view(np.float32).ravel())
                places.append(np.asarray(item.value.trajectory).T)
            elif isinstance(item.value, mrd.Image):
                images.append(item.value)
        with suppress(EOFError):
            reader._stream.read_byte()
            raise CorruptFileError(f"{path} continues beyond the end of its stream. Split it if several were joined.")
    if images and not heads:
        return _volume(images, path)
    if not heads:
        raise FormatError(f"{path} is an MRD stream without acquisitions or images. Export the k-space.")
    check_unpacked(sum(line.nbytes for line in lines), path, "the acquisitions")
    has_places = any(where.size for where in places)
    return acquisitions.scan_of(
        np.array(heads, dtype=acquisitions.HEAD), lines, _header(header, path), path, places if has_places else None
    )


def _volume(images: list[Any], path: str) -> Volume:
    shapes = sorted({one.data.shape for one in images})
    if len(shapes) > 1:
        raise ShapeError(f"{path} holds images of the shapes {shapes[0]} and {shapes[1]}. Split the file.")
    check_unpacked(sum(one.data.size * 8 for one in images), path, "the images")
    heads = np.zeros(len(images), dtype=list(IMAGE.values()))
    for name, (ours, _) in IMAGE.items():
        heads[ours] = [0 if (value := getattr(one.head, name)) is None else value for one in images]
    return volume_of(heads, in_single(np.stack([one.data for one in images]), path), path)


@contextmanager
def _whole(path: str) -> Iterator[None]:
    """Turn what the library raises at an early end of the stream into our error."""
    try:
        yield
    except (EOFError, BufferError) as error:
        raise CorruptFileError(f"{path} ends before its stream does. Copy or export it again.") from error


def _bounded(stream: Any, size: int) -> Any:
    """Refuse lengths beyond the size of the file, since the library allocates before it reads."""

    def guarded(read: Any) -> Any:
        def checked(count: int) -> Any:
            if count > size:
                raise ValueError(f"a length of {count} in a file of {size} bytes")
            return read(count)

        return checked

    stream.read_view, stream.read_bytearray = guarded(stream.read_view), guarded(stream.read_bytearray)
    return stream


def _head(acquisition: Any) -> tuple:
    """One record of `acquisitions.HEAD`; a missing counter is 0, a missing centre the middle."""
    head = acquisition.head
    samples = acquisition.data.shape[1]
    found = {
        "flags": int(head.flags),
        "number_of_samples": samples,
        "active_channels": acquisition.data.shape[0],
        "center_sample": samples // 2 if head.center_sample is None else head.center_sample,
        "idx": tuple(getattr(head.idx, name) or 0 for name in COUNTERS),
        **{name: getattr(head, name) or 0 for name in NUMBERS},
        **{name: tuple(float(value) for value in getattr(head, name)) for name in VECTORS},
    }
    return tuple(found[name] for name in acquisitions.HEAD.names or ())


def _header(header: Any, path: str) -> MRDHeader:
    if header is None or not header.encoding:
        raise FormatError(f"{path} is an MRD stream without a header or an encoding. Export it again.")
    first = header.encoding[0]
    system = header.acquisition_system_information
    limits = first.encoding_limits
    described = first.trajectory_description
    parameters = [*described.user_parameter_long, *described.user_parameter_double] if described else []
    steps = (limits.kspace_encoding_step_1, limits.kspace_encoding_step_2)
    spaces = []
    for name, space in (("encodedSpace", first.encoded_space), ("reconSpace", first.recon_space)):
        matrix, fov = space.matrix_size, space.field_of_view_mm
        found = Space((int(matrix.x), int(matrix.y), int(matrix.z)), (fov.x, fov.y, fov.z))
        spaces.append(found.checked(name, path))
    return MRDHeader(
        encoded=spaces[0],
        recon=spaces[1],
        centre=tuple(None if step is None else int(step.center) for step in steps),  # pyright: ignore[reportArgumentType]
        trajectory=first.trajectory.name.lower(),
        encodings=len(header.encoding),
        noise_bandwidth=float((system and system.relative_receiver_noise_bandwidth) or 1.0),
        ramps=any(one.name in RAMP_TIMES and one.value > 0 for one in parameters),
    )


def write_mrd_stream(
    file: Any, image: Tensor, ndim: int, geometry: Geometry | None, record: str, counters: tuple[str, ...] = ()
) -> None:
    """Write a header, and one image for each slice and frame with its phase, its place and the record as meta data.

    Args:
        file: a binary file, open for writing; it need not be seekable.
        image: (batch, *lead, *spatial), complex or real.
        ndim: number of spatial axes.
        geometry: the place in the patient, if it is known.
        record: JSON of how the image was made.
        counters: what the lead axes count, as in `Scan`.

    Raises:
        FormatError: mrd-python is not installed.
    """
    mrd = package("mrd")
    with mrd.BinaryMrdWriter(file) as writer:
        writer.write_header(_image_header(image, ndim, geometry, mrd))
        writer.write_data(_images(image, ndim, geometry, record, counters, mrd))


def _image_header(image: Tensor, ndim: int, geometry: Geometry | None, library: Any) -> Any:
    """A header whose spaces are those of the image, without patient data."""
    sizes = [*([1] * (3 - ndim)), *image.shape[-ndim:]][::-1]
    shape = (sizes[0], sizes[1], sizes[2])
    fov = field_in_mrd(geometry, place_of(geometry, shape), shape).tolist()
    space = library.EncodingSpaceType(
        matrix_size=library.MatrixSizeType(x=sizes[0], y=sizes[1], z=sizes[2]),
        field_of_view_mm=library.FieldOfViewMm(x=fov[0], y=fov[1], z=fov[2]),
    )
    encoding = library.EncodingType(
        encoded_space=space,
        recon_space=space,
        encoding_limits=library.EncodingLimitsType(),
        trajectory=library.Trajectory.CARTESIAN,
    )
    return library.Header(encoding=[encoding])


def _images(
    image: Tensor, ndim: int, geometry: Geometry | None, record: str, counters: tuple[str, ...], library: Any
) -> Iterator[Any]:
    wrap = library.StreamItem.ImageComplexFloat if image.is_complex() else library.StreamItem.ImageFloat
    kind = library.ImageType.COMPLEX if image.is_complex() else library.ImageType.MAGNITUDE
    for number, (batch, counts, block) in enumerate(blocks(image, ndim, counters)):
        depth, rows, columns = block.shape
        place = place_of(geometry, (columns, rows, depth), first_slice=batch if ndim == 2 else 0)
        head = library.ImageHeader(image_type=kind)
        head.field_of_view = field_in_mrd(geometry, place, (columns, rows, depth)).astype(np.float32)
        head.position = place.centre.astype(np.float32)
        head.col_dir, head.line_dir, head.slice_dir = directions_in_mrd(geometry, place).astype(np.float32)
        head.slice, head.image_index = batch, number
        for name, count in counts.items():
            setattr(head, name, count)
        meta = {"resolvent": [library.ImageMetaValue.String(record)]}
        yield wrap(library.Image(head=head, data=block[None], meta=meta))
