"""What a file is, is told from its content, and what it is not is said in one sentence."""

import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from io_files import KINDS, Example

from resolvent import _errors
from resolvent.data.io import read


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "cfl"])
def test_content_decides(example: Example, tmp_path: Path, kind: str):
    disguised = tmp_path / "data.bin"
    Path(example(kind)).rename(disguised)
    assert type(read(disguised)).__name__ == ("Volume" if kind.startswith("n") and kind != "native" else "Scan")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.h5", b"", "a.h5 is empty"),
        ("a.nii", b"", "a.nii is empty"),
        ("a.h5", b"hello", "does not begin like a HDF5 file"),
        ("a.nii.gz", b"\x1f\x8bhello", "does not begin like a NIfTI file"),
        ("a.txt", b"hello", "is of no known format"),
        ("a.mat", b"MATLAB 5.0 MAT-file", "is a MATLAB file, which cannot be read"),
        ("a.dcm", bytes(128) + b"DICM", "is a DICOM file, which cannot be read"),
    ],
)
def test_foreign_file_is_named(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(_errors.FormatError, match=message):
        read(tmp_path / name)


def test_missing_file_and_folder_are_named(tmp_path: Path):
    with pytest.raises(_errors.FormatError, match=r"nothing.h5 does not exist"):
        read(tmp_path / "nothing.h5")
    with pytest.raises(_errors.FormatError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(_errors.FormatError, match="is not a regular file"):
        read("/dev/null")


def test_hdf5_of_no_known_layout_lists_what_it_holds(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["apples"], file["pears"] = 1, 2
    with pytest.raises(_errors.FormatError, match=r"its datasets \(apples, pears\) are of no known layout"):
        read(tmp_path / "a.h5")


def test_import_brings_no_file_library():
    code = (
        "import sys, resolvent.data.io; print([m for m in ('h5py', 'nibabel', 'ismrmrd', 'PIL') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
