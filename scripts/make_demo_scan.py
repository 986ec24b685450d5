"""Make the scan that comes with the package: one axial slice of a T1-weighted head, 8 simulated coils, R = 6.

    python scripts/make_demo_scan.py t1_head_volume.h5 src/resolvent/scans/demo.h5

The volume is HDF5 with a dataset ``magnitude`` (axial slice from foot to head, row from front to back, column), one
adult of the studyforrest project, defaced, in the public domain (PDDL 1.0; see NOTICE). The result holds k-space, mask,
the true coil maps, the noise level and the true image, and is a function of the volume and of this file alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

import resolvent as rv
from resolvent.data import birdcage_maps
from resolvent.linop.fourier import fft

SLICE = 124  # through the basal ganglia and the ventricles
ROWS, COLUMNS = 176, 144
VOXEL = 1.3  # mm


def axial_slice(path: Path) -> Tensor:
    """The slice, cropped and padded to the matrix, its largest value 1."""
    with h5py.File(path) as file:
        plane = file["magnitude"][SLICE].astype(np.float32)
    top = (plane.shape[0] - ROWS) // 2
    plane = plane[top : top + ROWS]
    left = (COLUMNS - plane.shape[1]) // 2
    plane = np.pad(plane, ((0, 0), (left, COLUMNS - plane.shape[1] - left)))
    return torch.from_numpy(plane / plane.max())


def coil_maps(image: Tensor) -> Tensor:
    """Birdcage maps with 11 bits of precision (they pack better), zero away from the head as estimated maps are."""
    maps = birdcage_maps(8, (ROWS, COLUMNS), seed=0)
    object_ = (image > 0.05).float()[None, None]
    near = torch.nn.functional.max_pool2d(object_, 13, stride=1, padding=6)[0]
    filled = -torch.nn.functional.max_pool2d(-near, 31, stride=1, padding=15)
    near = torch.maximum(near, filled)
    return torch.complex(maps.real.half().float(), maps.imag.half().float()) * near


def main() -> None:
    """Simulate and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()

    image = axial_slice(args.volume)
    maps = coil_maps(image)
    image = image * (maps.abs().amax(0) > 0)
    affine = np.diag([-VOXEL, -VOXEL, VOXEL, 1.0])  # columns to the left, rows to the back
    affine[:2, 3] = VOXEL * (COLUMNS // 2), VOXEL * (ROWS // 2)
    volume = rv.Volume(image=image[None] + 0j, geometry=rv.Geometry(affine))
    scan = rv.simulate(volume, maps=maps[None], acceleration=6, mask_kind="gaussian2d", snr_db=30, seed=0)
    scan = scan.validated()

    loose = args.output.with_suffix(".loose.h5")
    rv.write(scan, loose)
    with h5py.File(loose) as source, h5py.File(args.output, "w") as target:
        target.attrs.update(source.attrs)
        target.attrs["notice"] = "simulated from a defaced T1 volume of studyforrest (PDDL 1.0); see NOTICE"
        for name in source:
            target.create_dataset(name, data=source[name][()], compression="gzip", compression_opts=9, shuffle=True)
    loose.unlink()
    loose.with_suffix(".json").unlink()
    error = fft(scan.coil_maps * scan.reference[:, None]) * scan.mask[:, None] - scan.kspace
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB, noise {scan.noise:.4f}, in it {error.std():.4f}")


if __name__ == "__main__":
    main()
