"""MoDL and MOL HDF5: images ``Org``, maps ``Csm``, masks ``Mask`` (prefix ``trn`` or ``tst``), no k-space."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch

from resolvent._errors import DataError, ShapeError
from resolvent.data.io.hdf5 import load, load_complex, required
from resolvent.data.io.limits import check_unpacked
from resolvent.data.scan import Scan
from resolvent.data.validation import check_maps
from resolvent.linop.fourier import fft


def is_modl(file: h5py.File) -> bool:
    """Whether the file holds the images of this layout."""
    return "tstOrg" in file or "trnOrg" in file


def read_modl(file: h5py.File, path: str) -> Scan:
    """Simulate ``kspace = mask fft(maps image)``, noiseless; the image is the reference.

    The test half (``tst``) is read if the file has it, else the training half. The layout stores masks with the centre
    of k-space at index 0: they are fft-shifted here.

    Raises:
        ShapeError: maps or mask do not fit the images.
        DataError: the mask is empty.
    """
    half = "tst" if "tstOrg" in file else "trn"
    where = Path(path).name
    images, maps = (torch.from_numpy(load_complex(required(file, half + part, path), path)) for part in ("Org", "Csm"))
    stored = load(required(file, half + "Mask", path), path)
    if images.ndim == 2:
        images, maps, stored = images[None], maps[None], stored[None]
    if images.ndim != 3 or maps.ndim != 4:
        raise ShapeError(
            f"{half}Org has {images.ndim} axes and {half}Csm {maps.ndim}, not [slice, y, x] and [slice, coil, y, x] "
            f"({where}). Check the export."
        )
    if stored.shape not in (images.shape, (1, *images.shape[1:]), images.shape[1:]):
        raise ShapeError(f"{half}Mask has shape {stored.shape} unlike {half}Org ({where}). Check it.")
    mask = torch.from_numpy((stored != 0).astype(np.float32))
    mask = torch.fft.fftshift(mask.reshape(-1, *images.shape[1:]), dim=(-2, -1))
    if not mask.any():
        raise DataError(
            f"mask is empty: no sample is marked as measured ({half}Mask in {where}). Store 1 where measured."
        )
    check_unpacked(maps.numel() * 8, path, "the simulated k-space")
    check_maps(maps, maps.new_zeros(()).expand(images.shape[0], maps.shape[1], *images.shape[1:]), 2, where)
    kspace = fft(maps * images.unsqueeze(1)) * mask.unsqueeze(1)
    return Scan(kspace=kspace.to(maps.dtype), mask=mask, coil_maps=maps, reference=images, source=path)
