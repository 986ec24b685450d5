"""Calgary-Campinas HDF5: ``kspace`` [slice, row, column, 2 coils], the readout already transformed."""

from __future__ import annotations

import h5py
import numpy as np
import torch

from resolvent._errors import ShapeError
from resolvent.data.io.hdf5 import load
from resolvent.data.scan import Scan
from resolvent.data.validation import infer_mask


def is_calgary(file: h5py.File) -> bool:
    """Whether k-space is real, with a last axis (the pairs of the coils) no longer than rows and columns."""
    kspace = file.get("kspace")
    if not isinstance(kspace, h5py.Dataset) or kspace.dtype.kind != "f" or kspace.ndim != 4:
        return False
    return kspace.shape[3] <= min(kspace.shape[1:3])


def read_calgary(file: h5py.File, path: str) -> Scan:
    """Slices of the hybrid space (x, ky, kz) along batch: each is a 2-D scan of its own.

    The set's images are ``|ifft2(kspace)|`` without shifts, with the centre of k-space stored at ``N // 2``: relative
    to the centred transform each sample carries the phase ``exp(-2 pi i c (k - c) / N)``, c = N // 2, which is
    taken out. Columns beyond the sampled part of kz (15 % in the test set) are zero in the file and unmeasured.

    Raises:
        ShapeError: an odd last axis, which cannot be pairs.

    Source: Souza et al., the Calgary-Campinas raw data set, https://github.com/rmsouza01/MC-MRI-Rec.
    """
    stored = load(file["kspace"], path).astype(np.float32)
    if stored.shape[-1] % 2:
        raise ShapeError(
            f"kspace in {path} has {stored.shape[-1]} values per sample, which are not pairs of real and imaginary "
            "parts. Store complex numbers with the axes of fastMRI instead."
        )
    kspace = torch.from_numpy(
        np.ascontiguousarray(np.ascontiguousarray(stored).view(np.complex64).transpose(0, 3, 1, 2))
    )
    for axis in (-2, -1):
        size = kspace.shape[axis]
        turns = (size // 2) * (torch.arange(size, dtype=torch.float64) - size // 2) / size
        phase = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns).to(kspace.dtype)
        kspace = kspace * (phase[:, None] if axis == -2 else phase)
    return Scan(kspace=kspace, mask=infer_mask(kspace, 2), source=path)
