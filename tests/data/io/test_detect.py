"""What a file is, is told from its content, and what it is not is said in one sentence."""

import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import h5py
import pytest
from io_files import KINDS, VOLUMES, Example

from resolvent import _errors
from resolvent.data.io import packages, read


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "cfl"])
def test_content_decides(example: Example, tmp_path: Path, kind: str):
    disguised = tmp_path / "data.bin"
    Path(example(kind)).rename(disguised)
    assert type(read(disguised)).__name__ == ("Volume" if kind in VOLUMES else "Scan")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.h5", b"", "a.h5 is empty"),
        ("a.nii", b"", "a.nii is empty"),
        ("a.h5", b"hello", "does not begin like a HDF5 file"),
        ("a.nii.gz", b"\x1f\x8bhello", "does not begin like a NIfTI file"),
        ("a.txt", b"hello", "is of no known format"),
        ("a.mat", b"MATLAB 5.0 MAT-file", "a.mat is truncated or damaged"),
        ("a.mat", b"hello", "does not begin like a MATLAB file"),
        ("a.dat", b"hello", "does not begin like a Siemens twix file"),
        ("a.dat", b"\0\0\1\0\6\0\0\0Config\0", "a twix file of software VB, which is not read"),
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
    libraries = ("h5py", "nibabel", "ismrmrd", "mrd", "twixtools", "pydicom", "scipy.io", "PIL")
    code = f"import sys, resolvent.data.io; print([m for m in {libraries} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", packages.MISSING)
def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(_errors.FormatError, match="which is not installed") as error:
        packages.package(name)
    package, extra = re.findall(r"package (\S+),.*resolvent\[(\w+)\]", str(error.value))[0]
    brought = [line for line in requires("resolvent") or () if re.search(f"extra == .{extra}.", line)]
    assert any(line.startswith(package) for line in brought)
