"""Writing: whole or not at all, in the units and at the place of the scan, with a record beside it."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from io_files import crandn

from resolvent import _errors
from resolvent._errors import DataError
from resolvent._version import __version__
from resolvent.data.io import OutputError, check_writable, output, read, read_maps, write
from resolvent.data.places import Geometry
from resolvent.data.scan import Scan
from resolvent.data.volume import Volume
from resolvent.figures import comparison

SUFFIXES = (".nii.gz", ".nii", ".h5", ".cfl", ".png", ".npy")


class Made:
    """What the solver returns, as far as writing is concerned."""

    image = crandn(2, 2, 8, 10)

    def record(self) -> dict:
        return {"model": "m", "certificate": {"proved": True, "distance": np.float32(0.5), "data_gain": float("inf")}}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_record_lies_beside_every_format(tmp_path: Path, scan: Scan, suffix: str):
    write(scan, tmp_path / "in.h5")
    scan = read(tmp_path / "in.h5")
    path = tmp_path / f"out{suffix}"
    write(Made(), path, like=scan, record={"seconds": 1.5})
    text = (tmp_path / "out.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["version"] == __version__
    assert found["output"] == str(path)
    assert found["input"] == scan.source
    assert found["input_sha256"] == hashlib.sha256(Path(scan.source).read_bytes()).hexdigest()
    assert found["model"] == "m" and found["seconds"] == 1.5
    assert found["certificate"] == {"proved": True, "distance": 0.5, "data_gain": None}
    assert ("phase" in found) == (suffix in (".nii", ".nii.gz", ".png"))
    assert np.allclose(found["affine"], scan.geometry.affine)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_left_beside_output_and_record(tmp_path: Path, suffix: str):
    write(crandn(1, 8, 10), tmp_path / f"a.b{suffix}")
    expected = {f"a.b{suffix}", "a.b.json"} | ({"a.b.hdr"} if suffix == ".cfl" else set())
    assert {path.name for path in tmp_path.iterdir()} == expected


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".mrd", ".dcm"])
def test_suffix_in_capitals_is_the_same_suffix(tmp_path: Path, suffix: str):
    write(crandn(1, 8, 10), tmp_path / f"a{suffix.upper()}")
    expected = {f"a{suffix.upper()}", "a.json"} | ({"a.hdr"} if suffix == ".cfl" else set())
    assert {path.name for path in tmp_path.iterdir()} == expected
    if suffix not in (".png", ".dcm"):
        assert read(tmp_path / f"a{suffix.upper()}").image.shape == (1, 8, 10)


def test_image_is_written_in_the_units_of_the_file(tmp_path: Path, scan: Scan):
    write(Made(), tmp_path / "a.h5", like=scan)
    found = read(tmp_path / "a.h5")
    torch.testing.assert_close(found.image, Made.image * scan.scale)
    np.testing.assert_array_equal(found.geometry.affine, scan.geometry.affine)


def test_normalising_changes_nothing_that_is_written(tmp_path: Path, scan: Scan):
    small = scan.normalised()
    write(scan.reference, tmp_path / "a.npy", like=scan)
    write(small.reference, tmp_path / "b.npy", like=small)
    torch.testing.assert_close(read(tmp_path / "a.npy").image, read(tmp_path / "b.npy").image)


def test_units_beyond_single_precision_are_written_in_double_or_refused(tmp_path: Path, scan: Scan):
    vast = scan.replace(scale=1e200)
    write(Made(), tmp_path / "a.npy", like=vast)
    np.testing.assert_allclose(np.load(tmp_path / "a.npy") / 1e200, Made.image.numpy(), rtol=1e-6)
    for suffix in (".nii.gz", ".cfl"):
        with pytest.raises(DataError, match=r"is beyond single precision, which \S+ holds. Write .h5 or .npy"):
            write(Made(), tmp_path / f"b{suffix}", like=vast)
    assert not list(tmp_path.glob("b*"))


def test_orientation_goes_from_scan_to_nifti(tmp_path: Path, scan: Scan):
    write(Made(), tmp_path / "a.nii.gz", like=scan)
    np.testing.assert_allclose(nibabel.load(tmp_path / "a.nii.gz").affine, scan.geometry.affine, atol=1e-4)


def test_three_axes_follow_the_scan(tmp_path: Path):
    scan = Scan(kspace=crandn(1, 2, 6, 8, 10), mask=torch.ones(1, 6, 8, 10), ndim=3)
    write(crandn(1, 6, 8, 10), tmp_path / "a.nii", like=scan)
    assert nibabel.load(tmp_path / "a.nii").shape == (10, 8, 6)


def test_volume_is_its_own_likeness(tmp_path: Path, affine: np.ndarray):
    nibabel.save(nibabel.Nifti1Image(np.ones((10, 8, 3), np.float32), affine), tmp_path / "a.nii")
    write(read(tmp_path / "a.nii"), tmp_path / "b.nii")
    np.testing.assert_allclose(nibabel.load(tmp_path / "b.nii").affine, affine, atol=1e-5)
    assert json.loads((tmp_path / "b.json").read_text())["input"] == str(tmp_path / "a.nii")


def test_record_of_a_scan_keeps_its_scale(tmp_path: Path, scan: Scan):
    write(scan, tmp_path / "k.h5")
    assert json.loads((tmp_path / "k.json").read_text())["scale"] == scan.scale


def test_kspace_without_a_scale_beside_it_is_in_the_units_of_the_file(tmp_path: Path, scan: Scan):
    write(scan, tmp_path / "k.cfl")
    assert json.loads((tmp_path / "k.json").read_text())["scale"] == 1
    torch.testing.assert_close(read(tmp_path / "k.cfl").kspace, scan.kspace * scan.scale)
    write(scan.replace(kspace=1e30 * scan.kspace, scale=1e-20), tmp_path / "k.cfl")
    torch.testing.assert_close(read(tmp_path / "k.cfl").kspace, scan.kspace * 1e10)
    with pytest.raises(DataError, match=r"is beyond single precision, which .cfl holds. Write .h5"):
        write(scan.replace(scale=1e200), tmp_path / "vast.cfl")
    assert not list(tmp_path.glob("vast*"))


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.nii.gzip", ".h5"])
def test_unknown_suffix_lists_the_known(tmp_path: Path, name: str):
    with pytest.raises(
        _errors.FormatError, match=r"no known suffix. Use one of .nii.gz, .nii, .h5, .mrd, .dcm, .cfl, .png, .npy"
    ):
        write(crandn(1, 8, 10), tmp_path / name)


def test_scan_goes_to_no_image_format(tmp_path: Path, scan: Scan):
    with pytest.raises(_errors.FormatError, match=r"format for images, but a scan was given. Write it to .h5 or .cfl"):
        write(scan, tmp_path / "a.nii")


def test_something_else_is_refused(tmp_path: Path):
    with pytest.raises(_errors.FormatError, match="a str cannot be written"):
        write("image", tmp_path / "a.nii")


def test_image_must_have_the_axes_and_the_matrix_of_the_scan(tmp_path: Path, scan: Scan):
    with pytest.raises(_errors.ShapeError, match=r"image has shape \(8, 10\) but needs \(batch, \*lead, y, x\)"):
        write(crandn(8, 10), tmp_path / "a.nii")
    with pytest.raises(_errors.ShapeError, match=r"image is \(8, 8\) but its scan is \(8, 10\)"):
        write(crandn(1, 8, 8), tmp_path / "a.nii", like=scan)


@pytest.mark.parametrize("ndim", [2, 3])
def test_image_must_have_the_slices_of_the_scan(tmp_path: Path, affine: np.ndarray, ndim: int):
    kspace, place = crandn(3, 2, *(6, 8, 10)[-ndim:]), Geometry(affine)
    scan = Scan(kspace=kspace, mask=torch.ones(1, *kspace.shape[2:]), geometry=place, ndim=ndim)
    for like in (scan, Volume(kspace[:, 0], place, ndim=ndim)):
        with pytest.raises(_errors.ShapeError, match=r"image has 1 slices .* but its scan 3. .* like=scan.entry\(n\)"):
            write(kspace[2:, 0], tmp_path / "a.nii", like=like)
    assert not list(tmp_path.iterdir())
    write(kspace[2:, 0], tmp_path / "a.nii", like=scan.entry(2))
    corner = affine @ [0, 0, 2 * (ndim == 2), 1]
    np.testing.assert_allclose(nibabel.load(tmp_path / "a.nii").affine[:, 3], corner, atol=1e-4)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".mrd", ".dcm"])
@pytest.mark.parametrize(
    "kind",
    [
        torch.conj,
        lambda image: image.conj().imag,
        lambda image: image.requires_grad_(),
        lambda image: image.real > 0,
        lambda image: image.real.half(),
        lambda image: image.real.bfloat16(),
        lambda image: image.to(torch.complex32),
    ],
    ids=["conjugate", "negative", "with gradient", "bool", "half", "bfloat16", "complex half"],
)
@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
def test_every_kind_of_tensor_is_written(tmp_path: Path, kind: Callable, suffix: str):
    image = kind(crandn(1, 8, 10))
    write(image, tmp_path / f"a{suffix}")
    if suffix in (".png", ".dcm"):
        return
    found, wanted = read(tmp_path / f"a{suffix}").image, image.detach().to(torch.complex64)
    dropped = suffix in (".nii", ".nii.gz") and image.is_complex()
    torch.testing.assert_close(found.to(torch.complex64), wanted.abs() + 0j if dropped else wanted)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".mrd", ".dcm"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_image_that_is_not_finite_is_refused(tmp_path: Path, suffix: str, value: float):
    image = crandn(1, 8, 10)
    image[0, 2, 3] = value
    with pytest.raises(DataError, match=r"holds 1 NaN or infinite values. Set them to zero first"):
        write(image, tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


def test_folder_is_checked_before_anything_expensive(tmp_path: Path):
    check_writable(tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OutputError, match=r"folder .*missing for .* does not exist. Create it first"):
        check_writable(tmp_path / "missing" / "a.nii")
    (tmp_path / "b.nii").mkdir()
    with pytest.raises(OutputError, match=r"b.nii is a folder"):
        check_writable(tmp_path / "b.nii")
    with pytest.raises(_errors.FormatError, match="no known suffix"):
        check_writable(tmp_path / "a.jpg")


@pytest.mark.parametrize("text", ['{"EchoTime": 0.03, "version": "2"}', '["version", "output"]', "", "not JSON"])
def test_json_file_of_somebody_else_is_not_replaced(tmp_path: Path, text: str):
    (tmp_path / "sub-01.json").write_text(text)
    for attempt in (check_writable, lambda path: write(crandn(1, 8, 10), path)):
        with pytest.raises(OutputError, match=r"sub-01.json is no record .* replace it. Choose another name"):
            attempt(tmp_path / "sub-01.nii.gz")
    assert (tmp_path / "sub-01.json").read_text() == text and len(list(tmp_path.iterdir())) == 1
    comparison(tmp_path / "sub-01.png", {"image": crandn(1, 8, 10)})  # a figure has no record


@pytest.mark.parametrize("text", ["ENVI\nsamples = 10\n", "", None])
def test_header_of_somebody_else_is_not_replaced(tmp_path: Path, text: str | None):
    other = tmp_path / "scan.hdr"
    _ = other.mkdir() if text is None else other.write_text(text)
    for attempt in (check_writable, lambda path: write(crandn(1, 8, 10), path)):
        with pytest.raises(OutputError, match=r"scan.hdr is not a BART header, .* replace it. Choose another name"):
            attempt(tmp_path / "scan.cfl")
    assert len(list(tmp_path.iterdir())) == 1 and (text is None or other.read_text() == text)
    check_writable(tmp_path / "scan.npy")


def test_pair_is_replaced_by_a_pair(tmp_path: Path):
    for rows in (8, 6):
        write(crandn(1, rows, 10), tmp_path / "a.cfl")
    assert read(tmp_path / "a.cfl").image.shape == (1, 6, 10)


def test_name_that_is_no_text_is_refused_before_any_work(tmp_path: Path):
    """Of a file from a system in another encoding: no record can hold its name."""
    name = tmp_path / os.fsdecode(b"K\xf6pfe.h5")
    try:
        name.write_bytes(b"")
    except OSError:
        pytest.skip("the file system takes no such name")
    for attempt in (read, read_maps, check_writable, output.check_place):
        with pytest.raises(_errors.FormatError, match=r"the name of .*K\?pfe.h5 is not in UTF-8.* Rename it"):
            attempt(name)


def test_relative_name_means_the_present_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    check_writable("a.npy")
    write(crandn(1, 8, 10), "a.npy")
    assert (tmp_path / "a.npy").exists() and (tmp_path / "a.json").exists()


def test_folder_that_admits_no_files_is_named():
    if not os.path.isdir("/proc/self"):
        pytest.skip("no /proc here, the folder that nobody may write to")
    with pytest.raises(OutputError, match=r"/proc/self/a.nii cannot be written \(.*\). Free space or choose another"):
        check_writable("/proc/self/a.nii")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_failure_keeps_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str):
    path = tmp_path / f"a{suffix}"
    write(torch.ones(1, 8, 10), path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(name: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output, "_sync", full)
    with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\)"):
        write(crandn(2, 8, 10), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_record_that_cannot_be_written_leaves_no_image(tmp_path: Path):
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with pytest.raises(RuntimeError, match="no text"):
        write(crandn(1, 8, 10), tmp_path / "a.nii", record={"bad": Bad()})
    assert not list(tmp_path.iterdir())


def test_killed_writer_leaves_the_previous_file(tmp_path: Path):
    path = tmp_path / "a.npy"
    write(torch.ones(1, 8, 10), path)
    code = """
import os, sys, torch
from resolvent.data.io import output, write
output.os.replace = lambda *names: os._exit(9)  # dies between writing and renaming
write(torch.zeros(1, 8, 10), sys.argv[1])
"""
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 9
    assert torch.equal(read(path).image, torch.ones(1, 8, 10, dtype=torch.complex64))


def test_real_images_stay_real_where_they_can(tmp_path: Path):
    write(Volume(image=-torch.ones(1, 8, 10)), tmp_path / "a.nii")
    assert nibabel.load(tmp_path / "a.nii").get_fdata().max() == -1
    assert "phase" not in json.loads((tmp_path / "a.json").read_text())
