"""FastMRI HDF5: ``kspace`` [slice, coil, read, phase] or [slice, read, phase], a mask in test files, a header."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch

from resolvent._errors import DataError, ShapeError
from resolvent.data.io.hdf5 import load, load_complex, load_kspace, required, text
from resolvent.data.io.mrd_header import MRDHeader, parse_header
from resolvent.data.io.orientation import affine_from_spacing
from resolvent.data.io.oversampling import crop_readout
from resolvent.data.places import Geometry
from resolvent.data.scan import Scan
from resolvent.data.validation import check_kspace, infer_mask, masked


def read_fastmri(file: h5py.File, path: str) -> Scan:
    """Read a fastMRI scan: slices along batch, readout along rows (y); oversampling is removed if the header gives it.

    ``mask`` holds one value for each phase-encoding column, or one for each sample; its outermost columns that are
    zero-filled in k-space are dropped. Without ``mask``, samples that are not zero count as measured. The target
    ``reconstruction_rss`` (``reconstruction_esc`` in single-coil files) becomes the reference if its matrix is that of
    the scan; usually it is cropped, and then it is left out.

    Raises:
        ShapeError: k-space has neither three nor four axes, or three that no header or single-coil target identifies
            as [slice, read, phase]; or the mask does not fit.
    """
    where = Path(path).name
    kspace = torch.from_numpy(load_kspace(required(file, "kspace", path), path))
    if kspace.ndim == 3:
        if len(kspace) > 1 and not {"ismrmrd_header", "reconstruction_esc"} & set(file):
            raise ShapeError(
                f"k-space has 3 axes, the first of length {len(kspace)}: slices of one coil, or coils of one slice "
                f"(kspace in {where}). Store all four, [slice, coil, read, phase]."
            )
        kspace = kspace.unsqueeze(1)
    if kspace.ndim != 4:
        raise ShapeError(
            f"k-space has {kspace.ndim} axes but fastMRI files have [slice, coil, read, phase] (kspace in {where}). "
            "Store frames as slices, or use the resolvent format for them."
        )
    check_kspace(kspace, 2, where)
    mask = _mask(load(file["mask"], path), kspace, where) if "mask" in file else infer_mask(kspace, 2)
    kspace = masked(kspace, mask, 2, where)

    header = parse_header(text(load(file["ismrmrd_header"], path)), path) if "ismrmrd_header" in file else None
    kept = kspace.shape[-2]
    if header is not None and header.encoded.matrix[0] == kept and bool((mask == mask[..., :1, :]).all()):
        kept = header.readout
    kspace, mask = crop_readout(kspace, kept, axis=-2), mask[..., :kept, :].contiguous()
    return Scan(
        kspace=kspace,
        mask=mask,
        geometry=None if header is None else _geometry(header, kspace),
        reference=_reference(file, path, kspace),
        source=path,
        readout=-2,
    )


def _mask(stored: np.ndarray, kspace: torch.Tensor, where: str) -> torch.Tensor:
    """One value per column, per sample, or per slice and sample, as float (batch or 1, y, x)."""
    if stored.dtype.kind not in "bfiu":
        raise DataError(f"mask holds {stored.dtype}, not numbers (mask in {where}). Store 1 where measured.")
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise DataError(f"mask holds NaN or infinite values (mask in {where}). Store 1 where measured and 0 elsewhere.")
    mask = torch.from_numpy((np.squeeze(stored) != 0).astype(np.float32))
    rows, columns = kspace.shape[-2:]
    if mask.shape not in ((columns,), (rows, columns), (kspace.shape[0], rows, columns)):
        raise ShapeError(
            f"mask has shape {stored.shape} but k-space has {columns} phase-encoding columns and {rows} rows "
            f"(mask in {where}). Store one value for each column, or for each sample."
        )
    mask = mask.reshape(-1, *(1,) * (mask.ndim == 1), *mask.shape[-2:]) if mask.ndim < 3 else mask
    mask = mask.expand(-1, rows, columns).clone()
    filled = (kspace != 0).flatten(0, -2).any(dim=0).nonzero().flatten()  # columns with signal, then the first and last
    padding = torch.ones(columns, dtype=torch.bool)
    padding[int(filled[0]) : int(filled[-1]) + 1] = False
    mask[..., padding] = 0  # zero-filled to the matrix, whatever the file marks there
    return mask


def _geometry(header: MRDHeader, kspace: torch.Tensor) -> Geometry | None:
    """Voxel size only, or None without a field of view: the file has no position or orientation.

    Rows are the readout (x of the header).
    """
    read = header.encoded.spacing()[0]
    phase = header.encoded.fov[1] / kspace.shape[-1]  # whatever matrix the header gives, columns are 1 / fov apart
    voxel, shape = (phase, read, header.recon.spacing()[2]), (kspace.shape[-1], kspace.shape[-2], kspace.shape[0])
    return Geometry(affine_from_spacing(voxel, shape), oriented=False) if all(voxel) else None


def _reference(file: h5py.File, path: str, kspace: torch.Tensor) -> torch.Tensor | None:
    wanted = (kspace.shape[0], *kspace.shape[-2:])
    for name in ("reconstruction_rss", "reconstruction_esc"):
        target = file.get(name)
        if isinstance(target, h5py.Dataset) and target.shape == wanted:
            return torch.from_numpy(load_complex(target, path))
    return None
