"""`write`: an image, a volume, a scan or a reconstruction to a file in the format of its suffix."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resolvent._errors import DataError, FormatError, ShapeError
from resolvent._version import __version__
from resolvent.data.io.output import check_volumes, check_writable, output_suffix, sha256, sidecar_path, to_json, whole
from resolvent.data.places import Geometry
from resolvent.data.scan import Scan
from resolvent.data.volume import Volume

HALF = (torch.bool, torch.half, torch.bfloat16, torch.complex32)
"""Types that are written in single precision, since not all formats have them."""


def write(obj: Any, path: str | Path, like: Scan | Volume | None = None, record: dict | None = None) -> list[str]:
    """Write `obj` to `path`, and ``NAME.json`` beside it; both appear complete or not at all.

    An image is written in the units of the file that `like` came from (``image * like.scale``) and with its position in
    the patient. .h5, .mrd, .npy and .cfl keep the phase; .nii, .dcm and .png hold the magnitude, which the record says.
    A .dcm is one file for each slice and frame: ``NAME.dcm``, or ``NAME-001.dcm``, ``NAME-002.dcm``, ...

    Args:
        obj: a tensor (batch, *lead, *spatial), a `Volume`, a `Scan` (.h5 with all its fields, .cfl with k-space in the
            units of its file), or anything with ``.image`` and ``.record()``.
        path: ends in .nii.gz, .nii, .h5, .mrd, .dcm, .cfl, .png or .npy.
        like: gives geometry, scale and number of spatial axes.
        record: further entries for the JSON file; they take precedence over those of ``obj.record()``.

    Returns:
        `path`, or the names of the files if a .dcm is several.

    Raises:
        FormatError: unknown suffix, or a scan to an image format.
        OutputError: the folder is missing, read-only or full, or ``NAME.json`` (for a .cfl, ``NAME.hdr``) exists and
            was not written for such an image.
        ShapeError: the image differs from `like` in matrix or slices, is several volumes for a .dcm or .cfl, or has
            more axes than the format.
        DataError: the image is not finite, or its values in the units of the file are beyond the range of the format.
    """
    path = str(path)
    suffix = output_suffix(path)
    check_writable(path)
    origin = obj if like is None and isinstance(obj, Scan | Volume) else like
    source = "" if origin is None else origin.source
    made = {} if isinstance(obj, Tensor | Scan | Volume) or not hasattr(obj, "record") else obj.record()
    notes: dict[str, Any] = {**made, **(record or {})}
    notes |= {"version": __version__, "output": path, "input": notes.get("input", source)}
    if source and "input_sha256" not in notes:
        notes["input_sha256"] = sha256(source)

    if isinstance(obj, Scan):
        if suffix not in (".h5", ".cfl"):
            raise FormatError(f"{path} is a format for images, but a scan was given. Write it to .h5 or .cfl.")
        if suffix == ".cfl" and obj.trajectory is not None:
            raise FormatError(f"{path} would lose the trajectory of the scan. Write it to .h5.")
        if suffix == ".cfl":
            obj = obj.replace(kspace=_scaled(obj.kspace, obj.scale), scale=1.0)
            _check_range(obj.kspace, path, suffix)
        notes["scale"] = obj.scale
        return _write(path, suffix, notes, scan=obj)
    image, ndim, geometry, counters = _image(obj, like, path)
    check_volumes(path, ndim, len(image))
    _check_range(image, path, suffix)
    if suffix in (".nii", ".nii.gz", ".dcm", ".png") and image.is_complex():
        notes["phase"] = "dropped: the format holds the magnitude"
    notes["shape"] = list(image.shape)
    notes["affine"] = None if geometry is None else geometry.affine
    notes["oriented"] = None if geometry is None else geometry.oriented
    return _write(path, suffix, notes, image=image, ndim=ndim, geometry=geometry, counters=counters)


def _image(obj: Any, like: Scan | Volume | None, path: str) -> tuple[Tensor, int, Geometry | None, tuple[str, ...]]:
    """The image, its number of spatial axes, its geometry, and what its lead axes count."""
    image = obj if isinstance(obj, Tensor) else getattr(obj, "image", None)
    if not isinstance(image, Tensor):
        raise FormatError(
            f"a {type(obj).__name__} cannot be written to {path}. Give a tensor, a Scan, a Volume or a Reconstruction."
        )
    image = image.detach().cpu().resolve_conj().resolve_neg()
    if image.dtype in HALF:
        image = image.to(torch.promote_types(image.dtype, torch.float32))
    own = like if like is not None else (obj if isinstance(obj, Volume) else None)
    ndim = 2 if own is None else own.ndim
    if image.ndim < 1 + ndim or 0 in image.shape:
        raise ShapeError(
            f"image has shape {tuple(image.shape)} but needs (batch, *lead, {'z, ' * (ndim == 3)}y, x). Add the axes."
        )
    if like is not None:
        wanted = like.matrix if isinstance(like, Scan) else tuple(like.image.shape[-ndim:])
        if tuple(image.shape[-ndim:]) != wanted:
            raise ShapeError(
                f"image is {tuple(image.shape[-ndim:])} but its scan is {wanted} (last {ndim} axes). "
                "Write it without like, or crop neither."
            )
        count = len(like.kspace if isinstance(like, Scan) else like.image)
        if len(image) != count:
            raise ShapeError(
                f"image has {len(image)} slices (axis 0) but its scan {count}. Give all, or pass like=scan.entry(n)."
            )
    if isinstance(like, Scan):
        image = _scaled(image, like.scale)
    bad = int((~image.isfinite()).sum())
    if bad:
        raise DataError(f"image for {path} holds {bad} NaN or infinite values. Set them to zero first.")
    return image, ndim, None if own is None else own.geometry, () if own is None else own.counters


def _scaled(values: Tensor, scale: float) -> Tensor:
    """In the units of the file; in double precision if single cannot hold it."""
    if scale == 1:
        return values
    scaled = values * scale
    return scaled if bool(scaled.isfinite().all()) else values.to(torch.complex128) * scale


def _check_range(values: Tensor, path: str, suffix: str) -> None:
    if suffix in (".nii", ".nii.gz", ".mrd", ".cfl") and bool(values.abs().amax() > torch.finfo(torch.float32).max):
        raise DataError(
            f"{path}: {values.abs().amax():.2g} is beyond single precision, which {suffix} holds. Write .h5 or .npy."
        )


def _write(
    path: str,
    suffix: str,
    notes: dict[str, Any],
    *,
    scan: Scan | None = None,
    image: Tensor | None = None,
    ndim: int = 2,
    geometry: Geometry | None = None,
    counters: tuple[str, ...] = (),
) -> list[str]:
    """Draft all files, then rename them together, the record last; return the names of the files without the record.

    The record holds the SHA-256 of the image (of the first of several files), which tells it from the record of another
    image that was written under the same name with another suffix.
    """
    names = [path]
    if suffix == ".cfl":
        names.append(path[:-4] + ".hdr")
    elif suffix == ".dcm" and image is not None:
        from resolvent.data.io.dicom import dicom_names, planes

        names = dicom_names(path, math.prod(planes(image, ndim).shape[:2]))
        notes["output"] = names[0] if len(names) == 1 else names
    names.append(sidecar_path(path))
    with whole(path, names) as drafts:
        draft = drafts[0]
        if suffix == ".dcm" and image is not None:
            from resolvent.data.io.dicom import write_dicom

            write_dicom(drafts[:-1], image, ndim, geometry, str(notes.get("input_sha256") or ""), counters)
        elif scan is not None:
            _draft_scan(draft, suffix, scan)
        elif image is not None:
            _draft_image(draft, suffix, image, ndim, geometry, to_json(notes), counters)
        notes["output_sha256"] = sha256(draft)  # by which `record_of` knows which image the record is of
        Path(drafts[-1]).write_text(to_json(notes), encoding="utf-8")
    return [path] if suffix == ".cfl" else names[:-1]


def _draft_scan(draft: str, suffix: str, scan: Scan) -> None:
    if suffix == ".h5":
        from resolvent.data.io.native import write_native_scan

        write_native_scan(draft, scan)
    else:
        from resolvent.data.io.cfl import write_cfl

        write_cfl(draft, scan.kspace, scan.ndim, coils=True)


def _draft_image(
    draft: str,
    suffix: str,
    image: Tensor,
    ndim: int,
    geometry: Geometry | None,
    text: str,
    counters: tuple[str, ...],
) -> None:
    if suffix == ".h5":
        from resolvent.data.io.native import write_native_image

        write_native_image(draft, image, ndim, geometry, text, counters)
    elif suffix == ".mrd":
        from resolvent.data.io.mrd_image import write_mrd_images

        write_mrd_images(draft, image, ndim, geometry, text, counters)
    elif suffix == ".cfl":
        from resolvent.data.io.cfl import write_cfl

        write_cfl(draft, image, ndim, coils=False)
    elif suffix == ".npy":
        with open(draft, "wb") as file:  # to a name np.save adds .npy, also where it ends in .NPY
            np.save(file, image.numpy(), allow_pickle=False)
    elif suffix == ".png":
        from resolvent.data.io.png import png_bytes

        Path(draft).write_bytes(png_bytes(image))
    else:
        from resolvent.data.io.nifti import nifti_bytes

        Path(draft).write_bytes(nifti_bytes(image, ndim, geometry, zipped=suffix == ".nii.gz"))
