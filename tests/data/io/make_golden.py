"""Make the files of `golden/`, one of each format, without the package: by the format's own library or byte by byte.

Run it as a script to make them again. All hold the numbers of `kspace` or `image`, which float32 holds exactly.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import ismrmrd
import mrd
import nibabel
import numpy as np
from io_files import HEADER
from scipy.io import savemat

GOLDEN = Path(__file__).with_name("golden")
COILS, ROWS, COLUMNS = 2, 4, 6
AFFINE = np.array([[0, -3, 0, 40], [2, 0, 0, -30], [0, 0, 5, 7], [0, 0, 0, 1]], dtype=float)
"""Voxel (i, j, k) of the NIfTI file lies at (40 - 3 j, 2 i - 30, 5 k + 7) mm."""


def kspace() -> np.ndarray:
    """(coil, row, column): ``1 + 100 coil + (10 row + column)^2 mod 23 + i (row - column)``."""
    coil, row, column = np.ogrid[:COILS, :ROWS, :COLUMNS]
    return (1 + 100 * coil + (10 * row + column) ** 2 % 23 + 1j * (row - column)).astype(np.complex64)


def image() -> np.ndarray:
    """(row, column): the first coil of `kspace`, real."""
    return kspace()[0].real.copy()


def main() -> None:
    """Write all files into `GOLDEN`."""
    GOLDEN.mkdir(exist_ok=True)
    for made in GOLDEN.iterdir():
        made.unlink()
    for make in (_ismrmrd, _ismrmrd_image, _mrd_stream, _hdf5, _matlab, _bart):
        make()
    nibabel.save(nibabel.Nifti1Image(image().T[..., None], AFFINE), GOLDEN / "image.nii")
    np.save(GOLDEN / "image.npy", image())


def _ismrmrd() -> None:
    space = f"<matrixSize><x>{COLUMNS}</x><y>{ROWS}</y><z>1</z></matrixSize><fieldOfView_mm><x>12</x><y>12</y><z>5</z>"
    space += "</fieldOfView_mm>"
    limits = f"<kspace_encoding_step_1><minimum>0</minimum><maximum>{ROWS - 1}</maximum><center>{ROWS // 2}</center>"
    encoding = (
        f"<encoding><encodedSpace>{space}</encodedSpace><reconSpace>{space}</reconSpace><encodingLimits>{limits}"
        "</kspace_encoding_step_1></encodingLimits><trajectory>cartesian</trajectory></encoding>"
    )
    with ismrmrd.Dataset(str(GOLDEN / "ismrmrd.h5"), "dataset") as file:
        file.write_xml_header(HEADER.format(system="", encodings=encoding).encode())
        for row in range(ROWS):
            one = ismrmrd.Acquisition.from_array(np.ascontiguousarray(kspace()[:, row]))
            one.idx.kspace_encode_step_1, one.center_sample = row, COLUMNS // 2
            one.read_dir[0] = one.phase_dir[1] = one.slice_dir[2] = 1
            file.append_acquisition(one)


def _ismrmrd_image() -> None:
    with ismrmrd.Dataset(str(GOLDEN / "ismrmrd_image.h5"), "dataset") as file:
        file.append_image("image_0", ismrmrd.Image.from_array(image()[None, None], transpose=False))


def _mrd_stream() -> None:
    space = mrd.EncodingSpaceType(
        matrix_size=mrd.MatrixSizeType(x=COLUMNS, y=ROWS, z=1), field_of_view_mm=mrd.FieldOfViewMm(x=12, y=12, z=5)
    )
    limits = mrd.EncodingLimitsType(kspace_encoding_step_1=mrd.LimitType(minimum=0, maximum=ROWS - 1, center=ROWS // 2))
    encoding = mrd.EncodingType(
        encoded_space=space, recon_space=space, encoding_limits=limits, trajectory=mrd.Trajectory.CARTESIAN
    )
    heads = [mrd.AcquisitionHeader(idx=mrd.EncodingCounters(kspace_encode_step_1=row)) for row in range(ROWS)]
    lines = [mrd.Acquisition(head=head, data=kspace()[:, row]) for row, head in enumerate(heads)]
    with mrd.BinaryMrdWriter(str(GOLDEN / "mrd.bin")) as writer:
        writer.write_header(mrd.Header(encoding=[encoding]))
        writer.write_data(mrd.StreamItem.Acquisition(line) for line in lines)


def _hdf5() -> None:
    """fastMRI: (slice, coil, row, column). Calgary-Campinas: uncentred, (slice, row, column, pairs of all coils)."""
    with h5py.File(GOLDEN / "fastmri.h5", "w") as file:
        file["kspace"] = kspace()[None]
    with h5py.File(GOLDEN / "calgary.h5", "w") as file:
        shifted = np.fft.fftshift(np.fft.fft2(kspace()), axes=(1, 2))
        file["kspace"] = shifted.astype(np.complex64).transpose(1, 2, 0)[None].copy().view(np.float32)
    with h5py.File(GOLDEN / "modl.h5", "w") as file:
        file["trnOrg"] = image()[None].astype(np.complex64)
        file["trnCsm"] = np.ones((1, 1, ROWS, COLUMNS), dtype=np.complex64)
        file["trnMask"] = np.ones((1, ROWS, COLUMNS), dtype=np.int8)


def _matlab() -> None:
    """CMRxRecon is version 7.3: axes reversed, so that rows change fastest; pairs real and imag."""
    array = kspace().transpose(1, 2, 0)  # (row, column, coil)
    savemat(GOLDEN / "several.mat", {"kspace_a": array, "kspace_b": 2 * array})
    stored = np.empty((1, 1, *array.T.shape), dtype=[("real", "f4"), ("imag", "f4")])
    stored["real"], stored["imag"] = array.T.real, array.T.imag
    with h5py.File(GOLDEN / "cmrxrecon.mat", "w", userblock_size=512) as file:
        file["kspace_full"] = stored
        file["kspace_full"].attrs["MATLAB_class"] = np.bytes_("single")
    with open(GOLDEN / "cmrxrecon.mat", "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, made by hand".ljust(124) + b"\x00\x02IM")


def _bart() -> None:
    """Sizes in text; numbers with READ fastest, then PHASE1, PHASE2 and COIL."""
    (GOLDEN / "bart.hdr").write_text(f"# Dimensions\n{COLUMNS} {ROWS} 1 {COILS}\n")
    (GOLDEN / "bart.cfl").write_bytes(kspace().astype("<c8").tobytes())


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of ismrmrd, about a later NumPy
    main()
