"""A small scan, and a small valid file of every format."""

from pathlib import Path

import numpy as np
import pytest
import torch
from io_files import (
    Acquisitions,
    Example,
    Measurement,
    crandn,
    header,
    write_calgary,
    write_fastmri,
    write_mat73,
    write_modl,
    write_mrd_stream,
    write_twix,
)
from scipy.io import savemat

from resolvent.data.io import hdf5, write
from resolvent.data.io.mrd_stream import write_mrd_stream as write_images
from resolvent.data.places import Geometry
from resolvent.data.scan import Scan
from resolvent.data.volume import Volume


@pytest.fixture(autouse=True)
def no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read at once, without the trial in another process, which takes a quarter of a second; it has its own tests."""
    monkeypatch.setattr(hdf5, "_try_apart", lambda path: None)


@pytest.fixture
def affine() -> np.ndarray:
    """Oblique and anisotropic: no two axes can be confused."""
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    out = np.eye(4)
    out[:3, :3] = turn @ np.diag([0.9, 1.1, 3.0])
    out[:3, 3] = [-20.0, 31.0, 7.5]
    return out


@pytest.fixture
def scan(affine: np.ndarray) -> Scan:
    """Two slices, three coils, two frames of 8 x 10, every second column."""
    mask = torch.zeros(1, 1, 8, 10)
    mask[..., ::2] = 1
    return Scan(
        kspace=crandn(2, 3, 2, 8, 10) * mask.unsqueeze(1),
        mask=mask,
        coil_maps=crandn(2, 3, 1, 8, 10, seed=1),
        noise=0.1 + 0.2,
        geometry=Geometry(affine),
        reference=crandn(2, 2, 8, 10, seed=2),
        scale=1 / 3,
        readout=-2,
        calibration=Scan(kspace=crandn(2, 3, 8, 10, seed=4), mask=torch.ones(1, 8, 10)),
    )


@pytest.fixture
def example(tmp_path: Path, scan: Scan, affine: np.ndarray) -> Example:
    """Makes a valid file of the given kind, a few kilobytes long."""

    def make(kind: str) -> str:
        stem = tmp_path / f"example-{kind.partition('.')[0]}"
        hdf5 = stem.with_suffix(".h5")
        if kind == "native":
            write(scan, hdf5)
        elif kind == "fastmri":
            write_fastmri(hdf5, crandn(2, 3, 8, 10).numpy(), mask=np.ones(10, bool))
        elif kind == "modl":
            write_modl(hdf5)
        elif kind == "mrd":
            Acquisitions(hdf5, header()).frame(crandn(2, 8, 32).numpy()).close()
        elif kind == "calgary":
            write_calgary(hdf5, crandn(2, 3, 8, 10).numpy())
        elif kind == "mrd-stream":
            return write_mrd_stream(stem.with_suffix(".bin"), crandn(2, 8, 32).numpy())
        elif kind == "mrd-images":
            write(Volume(image=crandn(3, 8, 10), geometry=Geometry(affine)), stem.with_suffix(".mrd"))
            return str(stem.with_suffix(".mrd"))
        elif kind == "mrd-stream-images":
            with stem.with_suffix(".bin").open("wb") as stream:
                write_images(stream, crandn(3, 8, 10), 2, Geometry(affine), "{}")
            return stream.name
        elif kind == "twix":
            return write_twix(stem.with_suffix(".dat"), Measurement().frame(crandn(2, 8, 32).numpy()))
        elif kind == "mat":
            savemat(stem.with_suffix(".mat"), {"data": crandn(8, 10, 3).numpy()})
            return str(stem.with_suffix(".mat"))
        elif kind == "mat73":
            return write_mat73(stem.with_suffix(".mat"), kspace_full=crandn(8, 10, 3, 2, 2).numpy())
        else:
            path = f"{stem}.{kind}"
            write(scan if kind == "cfl" else Volume(image=crandn(3, 8, 10), geometry=Geometry(affine)), path)
            return path
        return str(hdf5)

    return make
