"""Writers of small test files in formats that the package itself only reads."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import ArrayLike

HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
{system}<experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions>
{encodings}</ismrmrdHeader>"""
ENCODING = """<encoding>
<encodedSpace><matrixSize><x>{nx}</x><y>{ny}</y><z>{nz}</z></matrixSize>
<fieldOfView_mm><x>{fx}</x><y>{fy}</y><z>{fz}</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{rx}</x><y>{ny}</y><z>{nz}</z></matrixSize>
<fieldOfView_mm><x>{rfx}</x><y>{fy}</y><z>{fz}</z></fieldOfView_mm></reconSpace>
<encodingLimits>{limits}</encodingLimits><trajectory>{trajectory}</trajectory></encoding>
"""


def crandn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def header(
    *,
    columns: int = 16,
    rows: int = 8,
    planes: int = 1,
    oversampling: int = 2,
    centre: int | None = None,
    encodings: int = 1,
    bandwidth: float | None = None,
    trajectory: str = "cartesian",
) -> str:
    """ISMRMRD XML; voxels of 2 x 3 x 5 mm."""
    centre = rows // 2 if centre is None else centre
    limits = "".join(
        f"<kspace_encoding_step_{step}><minimum>0</minimum><maximum>{top}</maximum><center>{middle}</center>"
        f"</kspace_encoding_step_{step}>"
        for step, top, middle in ((1, rows - 1, centre), (2, planes - 1, planes // 2))
    )
    part = ENCODING.format(
        nx=columns * oversampling,
        rx=columns,
        ny=rows,
        nz=planes,
        fx=2.0 * columns * oversampling,
        rfx=2.0 * columns,
        fy=3.0 * rows,
        fz=5.0 * planes,
        limits=limits,
        trajectory=trajectory,
    )
    system = ""
    if bandwidth is not None:
        system = (
            "<acquisitionSystemInformation><relativeReceiverNoiseBandwidth>"
            f"{bandwidth}</relativeReceiverNoiseBandwidth></acquisitionSystemInformation>\n"
        )
    return HEADER.format(system=system, encodings=part * encodings)


class Acquisitions:
    """An ISMRMRD file under construction, written with the format's own library."""

    def __init__(self, path: Path, xml: str) -> None:
        import ismrmrd

        self.path = str(path)
        self.library = ismrmrd
        self.dataset = ismrmrd.Dataset(self.path, "dataset", create_if_needed=True)
        self.dataset.write_xml_header(xml.encode())

    def add(
        self,
        line: np.ndarray,
        row: int = 0,
        plane: int = 0,
        *,
        flags: tuple[int, ...] = (),
        centre: int | None = None,
        discard: tuple[int, int] = (0, 0),
        space: int = 0,
        dwell: float = 5.0,
        position: ArrayLike = (0, 0, 0),
        directions: ArrayLike = ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        **counters: int,
    ) -> Acquisitions:
        """Append one readout (coil, sample)."""
        line = np.ascontiguousarray(line, dtype=np.complex64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's own, of a later NumPy
            one = self.library.Acquisition.from_array(line)
        one.idx.kspace_encode_step_1 = row
        one.idx.kspace_encode_step_2 = plane
        for name, value in counters.items():
            setattr(one.idx, name, value)
        for flag in flags:
            one.set_flag(flag)
        one.center_sample = line.shape[1] // 2 if centre is None else centre
        one.discard_pre, one.discard_post = discard
        one.encoding_space_ref = space
        one.sample_time_us = dwell
        one.position[:] = tuple(np.asarray(position, dtype=float))
        for name, vector in zip(
            ("read_dir", "phase_dir", "slice_dir"), np.asarray(directions, dtype=float), strict=True
        ):
            getattr(one, name)[:] = tuple(vector)
        self.dataset.append_acquisition(one)
        return self

    def frame(self, kspace: np.ndarray, rows: range | None = None, **settings: object) -> Acquisitions:
        """Append the rows of one plane (coil, row, sample)."""
        for row in range(kspace.shape[1]) if rows is None else rows:
            self.add(kspace[:, row], row, **settings)  # pyright: ignore[reportArgumentType]
        return self

    def close(self) -> str:
        self.dataset.close()
        return self.path


def write_fastmri(path: Path, kspace: np.ndarray, **datasets: object) -> str:
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        for name, values in datasets.items():
            file[name] = values
    return str(path)


def write_modl(path: Path, half: str = "trn", slices: int = 2, coils: int = 3, shape: tuple[int, int] = (8, 10)) -> str:
    """Four columns around the centre of k-space are measured; the mask is stored with the centre at index 0."""
    columns = torch.zeros(shape)
    columns[:, shape[1] // 2 - 2 : shape[1] // 2 + 2] = 1
    with h5py.File(path, "a") as file:
        file[half + "Org"] = crandn(slices, *shape).numpy()
        file[half + "Csm"] = crandn(slices, coils, *shape, seed=1).numpy()
        file[half + "Mask"] = torch.fft.ifftshift(columns).expand(slices, *shape).numpy().astype(np.int8)
    return str(path)


Example = Callable[[str], str]
KINDS = ("nii", "nii.gz", "npy", "cfl", "native", "fastmri", "modl", "mrd")
