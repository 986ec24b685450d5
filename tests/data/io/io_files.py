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
        places: np.ndarray | None = None,
        **counters: int,
    ) -> Acquisitions:
        """Append one readout (coil, sample), with the places (sample, component) of its samples if it has them."""
        line = np.ascontiguousarray(line, dtype=np.complex64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's own, of a later NumPy
            given = {} if places is None else {"trajectory": np.asarray(places, dtype=np.float32)}
            one = self.library.Acquisition.from_array(line, **given)
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
VOLUMES = ("nii", "nii.gz", "npy", "mrd-images", "mrd-stream-images")
KINDS = (*VOLUMES, "cfl", "native", "fastmri", "modl", "mrd", "mrd-stream", "twix", "mat", "mat73", "calgary")


PROTOCOL = """<XProtocol> {{ <ParamMap."x"> {{ <ParamDouble."flReadoutOSFactor"> {{ {factor:.1f} }}
<ParamLong."alRegridMode"> {{ {regrid} 1 }} <ParamLong."alDwellTime"> {{ {dwell} 0 }} }} }}
"""
ASCCONV = """### ASCCONV BEGIN ###
sKSpace.ucTrajectory\t = \t{trajectory}
sSliceArray.asSlice[0].dThickness\t = \t5.0
sSliceArray.asSlice[0].dReadoutFOV\t = \t{read}
sSliceArray.asSlice[0].dPhaseFOV\t = \t{phase}
### ASCCONV END ###
"""
TWIX_FLAGS = {"end": 0, "regrid": 0, "patref": 22, "patref_image": 23, "reflect": 24, "noise": 25, "phasecor": 21}


class Measurement:
    """One measurement of a Siemens twix file under construction, with the block layout of twixtools' definitions."""

    def __init__(self, **protocol: object) -> None:
        settings = {"factor": 2.0, "regrid": 1, "dwell": 5000, "trajectory": 1, "read": 32.0, "phase": 24.0, **protocol}
        self.parts = []
        for name, form in (("Meas", PROTOCOL), ("MeasYaps", ASCCONV)):
            text = form.format(**settings).encode()
            self.parts.append(name.encode() + b"\0" + len(text).to_bytes(4, "little") + text)
        self.blocks: list[bytes] = []

    def add(
        self,
        line: np.ndarray,
        row: int = 0,
        plane: int = 0,
        *,
        flags: tuple[str, ...] = (),
        column: int | None = None,
        centre: tuple[int, int] = (4, 0),
        position: ArrayLike = (0, 0, 0),
        quaternion: ArrayLike = (1, 0, 0, 0),
        **counters: int,
    ) -> Measurement:
        """Append one readout (coil, sample)."""
        from twixtools import mdh_def

        line = np.ascontiguousarray(line, dtype="<c8")
        head = mdh_def.Scan_header()
        head.UsedChannels, head.SamplesInScan = line.shape
        head.EvalInfoMask = sum(1 << TWIX_FLAGS[flag] for flag in flags)
        head.Counter.Lin, head.Counter.Par = row, plane
        for name, value in counters.items():
            setattr(head.Counter, name, value)
        head.CenterCol = line.shape[1] // 2 if column is None else column
        head.CenterLin, head.CenterPar = centre
        place = head.SliceData.SlicePos
        place.Sag, place.Cor, place.Tra = np.asarray(position, dtype=float)
        head.SliceData.Quaternion[:] = np.asarray(quaternion, dtype=float)
        block = b"".join(bytes(mdh_def.Channel_header()) + channel.tobytes() for channel in line)
        head.FlagsAndDMALength = len(bytes(head)) + len(block)
        self.blocks.append(bytes(head) + block)
        return self

    def frame(self, kspace: np.ndarray, **settings: object) -> Measurement:
        """Append the rows of one plane (coil, row, sample)."""
        for row in range(kspace.shape[1]):
            self.add(kspace[:, row], row, **settings)  # pyright: ignore[reportArgumentType]
        return self

    def bytes(self) -> bytes:
        from twixtools import mdh_def

        end = mdh_def.Scan_header()
        end.EvalInfoMask, end.FlagsAndDMALength = 1, 192
        text = len(self.parts).to_bytes(4, "little") + b"".join(self.parts)
        return (len(text) + 4).to_bytes(4, "little") + text + b"".join(self.blocks) + bytes(end)


def write_twix(path: Path, *measurements: Measurement) -> str:
    """All measurements in one file, each at a multiple of 512 bytes behind the table of where they are."""
    table, body, start = b"", b"", 10240
    for number, one in enumerate(measurements):
        raw = one.bytes()
        entry = number.to_bytes(4, "little") * 2 + start.to_bytes(8, "little") + len(raw).to_bytes(8, "little")
        table += entry + bytes(128)
        raw += bytes(-len(raw) % 512 if one is not measurements[-1] else 0)
        body, start = body + raw, start + len(raw)
    head = bytes(4) + len(measurements).to_bytes(4, "little") + table
    path.write_bytes(head.ljust(10240, b"\0") + body)
    return str(path)


def write_mrd_stream(
    path: Path,
    kspace: np.ndarray,
    noise: np.ndarray | None = None,
    places: np.ndarray | None = None,
    **head: object,
) -> str:
    """A plane (coil, row, sample), twice oversampled, with the format's own library; voxels of 2 x 3 x 5 mm.

    `places` (row, sample, component) make it a scan along a trajectory.
    """
    import mrd

    _, rows, columns = kspace.shape

    def space(width: int) -> object:
        matrix, fov = mrd.MatrixSizeType(x=width, y=rows, z=1), mrd.FieldOfViewMm(x=2.0 * width, y=3.0 * rows, z=5.0)
        return mrd.EncodingSpaceType(matrix_size=matrix, field_of_view_mm=fov)

    limits = mrd.EncodingLimitsType(kspace_encoding_step_1=mrd.LimitType(minimum=0, maximum=rows - 1, center=rows // 2))
    settings = {"trajectory": mrd.Trajectory.CARTESIAN, **head}
    encoding = mrd.EncodingType(
        encoded_space=space(columns), recon_space=space(columns // 2), encoding_limits=limits, **settings
    )

    def items():
        if noise is not None:
            first = mrd.AcquisitionHeader(flags=mrd.AcquisitionFlags.IS_NOISE_MEASUREMENT)
            yield mrd.StreamItem.Acquisition(mrd.Acquisition(head=first, data=noise.astype("c8")))
        for row in range(rows):
            one = mrd.AcquisitionHeader(idx=mrd.EncodingCounters(kspace_encode_step_1=row))
            one.position = np.array([1, 2, 3], "f4")
            one.read_dir, one.phase_dir, one.slice_dir = np.eye(3, dtype="f4")
            given = {} if places is None else {"trajectory": places[row].T.astype("f4")}
            yield mrd.StreamItem.Acquisition(mrd.Acquisition(head=one, data=kspace[:, row].astype("c8"), **given))

    with mrd.BinaryMrdWriter(str(path)) as writer:
        writer.write_header(mrd.Header(encoding=[encoding]))
        writer.write_data(items())
    return str(path)


def write_mat73(path: Path, **arrays: np.ndarray) -> str:
    """Arrays as MATLAB's version 7.3 stores them: axes reversed, complex numbers as pairs, the class as attribute."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            stored = np.ascontiguousarray(array.transpose())
            if np.iscomplexobj(stored):
                pairs = np.empty(stored.shape, dtype=[("real", stored.real.dtype), ("imag", stored.real.dtype)])
                pairs["real"], pairs["imag"] = stored.real, stored.imag
                stored = pairs
            file[name] = stored
            file[name].attrs["MATLAB_class"] = np.bytes_("single" if array.dtype.itemsize <= 8 else "double")
    return str(path)


def write_calgary(path: Path, images: np.ndarray) -> str:
    """Coil images (slice, coil, y, x) as that set stores them: ``fftshift(fft2(image))``, pairs along the last axis."""
    kspace = np.fft.fftshift(np.fft.fft2(images, axes=(-2, -1)), axes=(-2, -1)).astype("c8").transpose(0, 2, 3, 1)
    with h5py.File(path, "w") as file:
        file["kspace"] = np.ascontiguousarray(kspace).view("f4")
    return str(path)
