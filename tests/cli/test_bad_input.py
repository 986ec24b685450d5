"""Bad input: one sentence that names file, part and remedy, exit code 1, nothing written."""

import json
import os
import re
import shutil
import sys

import h5py
import numpy as np
import pytest
import torch

import resolvent as rv


def nan(scan):
    kspace = scan.kspace.clone()
    kspace[0, 1, 20, 21] = complex("nan")
    return {"kspace": kspace}


def infinite(scan):
    kspace = scan.kspace.clone()
    kspace[0, 1, 20, 21] = complex("inf")
    return {"kspace": kspace}


BAD = {
    "NaN": (nan, r"k-space holds 1 NaN .* \(0, 1, 20, 21\) \(kspace in bad.h5\)"),
    "infinite": (infinite, r"k-space holds 1 NaN or infinite values"),
    "zero k-space": (lambda s: {"kspace": 0 * s.kspace}, r"k-space is zero everywhere \(kspace in bad.h5\)"),
    "zero maps": (lambda s: {"coil_maps": 0 * s.coil_maps}, r"maps are zero everywhere .* bad.h5"),
    "NaN maps": (lambda s: {"coil_maps": s.coil_maps * torch.nan}, r"maps holds .* NaN .* bad.h5"),
    "empty mask": (lambda s: {"mask": 0 * s.mask}, r"mask is empty: .* \(mask in bad.h5\)"),
    "unshifted mask": (lambda s: {"mask": torch.fft.fftshift(s.mask, dim=(-2, -1))}, r"Fft-shift the mask"),
    "mask off by a column": (lambda s: {"mask": s.mask.roll(1, dims=-1)}, r"Shift the mask by -1 column"),
    "one map for many coils": (
        lambda s: {"coil_maps": s.coil_maps[:, :1]},
        r"maps have 1 coil but k-space has 4 .*axis 1",
    ),
    "too many maps": (lambda s: {"coil_maps": s.coil_maps.repeat(1, 2, 1, 1)}, r"maps have 8 coils but k-space has 4"),
    "matrix of the maps": (lambda s: {"coil_maps": s.coil_maps[..., :40]}, r"maps are 48 x 40 but k-space is 48 x 48"),
    "matrix of the mask": (lambda s: {"mask": s.mask[..., :40]}, r"mask has shape \(1, 48, 40\) but k-space"),
}


def only(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", BAD)
def test_bad_scan(resolvent, store, scan, model, tmp_path, name):
    change, message = BAD[name]
    path = store(scan, "bad.h5")
    with h5py.File(path, "a") as file:
        for part, values in change(scan).items():
            del file[part]
            file[part] = values.numpy()
    run = resolvent("recon", path, "-o", tmp_path / "out" / "", "--model", model, "--json")
    assert run.code == 1
    (entry,) = run.json["results"]
    assert set(entry) == {"input", "error"}
    assert entry["error"] == run.error
    assert re.search(message, run.error), run.error
    assert run.error.count(". ") <= 1, "a sentence of fact and one of remedy"
    assert only(tmp_path) == ["bad.h5"]


@pytest.mark.parametrize("keep", [0, 7, 600, 9000, -1])
def test_truncated_file(resolvent, store, scan, model, tmp_path, keep):
    path = store(scan, "bad.h5")
    path.write_bytes(path.read_bytes()[:keep])
    run = resolvent("recon", path, "-o", tmp_path / "out.nii.gz", "--model", model)
    assert run.code == 1
    assert "bad.h5" in run.error
    assert run.out == ""
    assert only(tmp_path) == ["bad.h5"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((1, 4, 48, 48), np.complex64), "maps are zero everywhere"),
        (np.ones((1, 1, 48, 48), np.complex64), "One map cannot stand for 4 coils"),
        (np.ones((1, 4, 40, 48), np.complex64), "maps are 40 x 48 but k-space is 48 x 48"),
        (np.ones((2, 4, 48, 48), np.complex64), "maps have 2 slices but k-space has 1"),
        (np.ones((48,), np.complex64), "Reshape them"),
    ],
)
def test_maps_that_do_not_fit(resolvent, store, scan, model, tmp_path, values, message):
    np.save(tmp_path / "maps.npy", values)
    arguments = ("--maps", tmp_path / "maps.npy", "--model", model)
    run = resolvent("recon", store(scan), "-o", tmp_path / "out.npy", *arguments)
    assert run.code == 1
    assert message in run.error
    assert only(tmp_path) == ["maps.npy", "scan.h5"]


def test_unknown_model(resolvent, store, scan, tmp_path):
    run = resolvent("recon", store(scan), "-o", tmp_path / "new" / "", "--model", "brain-9d", "--json")
    assert run.code == 1
    assert "there is no model 'brain-9d'" in run.error
    assert run.json == {"version": rv.__version__, "error": run.error}
    assert only(tmp_path) == ["scan.h5"]


@pytest.mark.parametrize("name", ["brain-3d", "cine"])
def test_a_model_for_volumes_or_series_is_none_for_slices(resolvent, store, scan, name):
    run = resolvent("recon", store(scan), "--model", name)
    assert run.code == 1
    assert run.error.startswith(f"{name} is a model for volumes or series, but scan.h5 holds slices. Use")
    assert "--model brain-2d" in run.error


def test_damaged_model(resolvent, store, scan, model, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in model.iterdir():
        content = bytearray(file.read_bytes())
        if file.suffix == ".safetensors":
            content[-5] ^= 1
        (broken / file.name).write_bytes(content)
    run = resolvent("recon", store(scan), "--model", broken)
    assert run.code == 1
    assert "SHA-256" in run.error


def test_an_image_is_not_a_scan(resolvent, model, tmp_path):
    np.save(tmp_path / "image.npy", np.ones((48, 48)))
    run = resolvent("recon", tmp_path / "image.npy", "--model", model)
    assert run.code == 1
    assert "resolvent simulate" in run.error


@pytest.mark.parametrize("suffix", ["cfl", "npy"])
def test_complex_numbers_without_coils_may_be_kspace(resolvent, model, tmp_path, suffix):
    values = torch.ones(1, 48, 48) + 0j
    rv.write(values, tmp_path / f"image.{suffix}")
    assert "holds an image" in resolvent("recon", tmp_path / f"image.{suffix}", "--model", model).error
    rv.write(1j * values, tmp_path / f"one.{suffix}")
    run = resolvent("recon", tmp_path / f"one.{suffix}", "--model", model)
    assert run.code == 1
    assert "k-space of one coil, or an image. Make an rv.Scan of k-space in Python" in run.error


def test_undersampling_twice(resolvent, store, scan, model):
    run = resolvent("recon", store(scan), "--model", model, "--acceleration", 4)
    assert run.code == 1
    assert "cannot be undersampled again" in run.error


@pytest.mark.parametrize("value", ["0.5", "0", "-3", "nan", "inf"])
@pytest.mark.parametrize("command", ["recon", "attack", "simulate"])
def test_an_acceleration_below_one_is_a_usage_error(resolvent, tmp_path, command, value):
    before = {"recon": (), "attack": ("brain-2d",), "simulate": ("-o", tmp_path / "out.h5")}[command]
    run = resolvent(command, *before, tmp_path / "scan.h5", f"--acceleration={value}")
    assert run.code == 2
    assert "is at least 1" in " ".join(run.err.split())


def test_undersampling_with_two_map_sets(resolvent, store, full, model, tmp_path):
    np.save(tmp_path / "maps.npy", torch.stack([full.coil_maps] * 2, 2).numpy())
    arguments = ("--maps", tmp_path / "maps.npy", "--acceleration", 2)
    run = resolvent("recon", store(full), "--model", model, *arguments)
    assert run.code == 1
    assert "maps have 2 sets (axis 2 of maps" in run.error


@pytest.mark.parametrize("out", ["missing/out.npy", "out.tiff", "taken/"])
def test_output_is_tried_before_the_work(resolvent, store, scan, model, tmp_path, monkeypatch, out):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setattr(rv.MOL, "solve", None)
    run = resolvent("recon", store(scan), "-o", f"{tmp_path}/{out}", "--model", model)
    assert run.code == 1
    assert "internal" not in run.error
    assert only(tmp_path) == ["scan.h5", "taken"]


@pytest.mark.parametrize(("out", "package"), [("out.dcm", "pydicom"), ("out.mrd", "ismrmrd"), ("-", "mrd")])
def test_a_package_that_the_output_needs_is_tried_before_the_work(
    resolvent, store, scan, model, tmp_path, monkeypatch, out, package
):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(rv.MOL, "solve", None)
    run = resolvent("recon", store(scan), "-o", out if out == "-" else tmp_path / out, "--model", model)
    assert run.code == 1
    assert f"need the package {package}" in run.error.replace("needs", "need")
    assert only(tmp_path) == ["scan.h5"]


def test_training_without_its_extra_is_told_what_to_install(resolvent, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("resolvent.train")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "yaml", None)
    run = resolvent("train", tmp_path / "mine.yaml", "--json")
    assert run.code == 1
    assert run.error == "yaml is not installed. Install what training needs: pip install 'resolvent[train]'."
    assert run.json == {"version": rv.__version__, "error": run.error}


@pytest.mark.parametrize("suffix", [".dcm", ".cfl"])
def test_volumes_for_a_format_that_holds_one_are_refused_before_the_work(
    resolvent, store, model, tmp_path, monkeypatch, suffix
):
    pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")
    monkeypatch.setattr(rv.MOL, "solve", None)
    path = store(rv.Scan(torch.ones(2, 1, 8, 8, 8) + 0j, torch.ones(1, 8, 8, 8), ndim=3))
    run = resolvent("recon", path, "-o", tmp_path / f"out{suffix}", "--model", model)
    assert run.code == 1
    assert f"2 volumes are no series of slices, and {suffix} holds one" in run.error
    assert only(tmp_path) == ["scan.h5"]


def test_errors_of_the_other_commands(resolvent, store, scan, tmp_path):
    (tmp_path / "file").write_text("not a scan")
    path = store(scan)
    for arguments, message in [
        (("info", tmp_path / "absent.h5"), "absent.h5 does not exist"),
        (("info", tmp_path / "file"), "no known format"),
        (("info", tmp_path), "there is no model"),
        (("simulate", tmp_path / "absent.nii", "-o", tmp_path / "s.h5"), "does not exist"),
        (("simulate", path, "-o", tmp_path / "s.h5"), "holds k-space, not an image"),
        (("simulate", path, "-o", tmp_path / "s.npy"), "is an image format, but this command writes a scan"),
        (("convert", tmp_path / "absent.pth", "-o", tmp_path / "model"), "there is no file"),
        (("convert", path, "-o", tmp_path / "file"), "is a file"),
    ]:
        run = resolvent(*arguments, "--json")
        assert run.code == 1, arguments
        assert message in run.error
        assert json.loads(run.out) == {"version": rv.__version__, "error": run.error}
    assert only(tmp_path) == ["file", "scan.h5"]


def test_a_name_that_is_no_text_is_refused_in_text_and_json(resolvent, store, scan, model, tmp_path):
    good, name = store(scan), tmp_path / os.fsdecode(b"K\xf6pfe.h5")
    try:
        shutil.copy(good, name)
    except OSError:
        pytest.skip("the file system takes no such name")
    assert "is not in UTF-8" in resolvent("info", name, "--json").json["error"]
    run = resolvent("recon", name, good, "--model", model, "--json")
    assert run.code == 1 and "is not in UTF-8" in run.err
    bad, fine = run.json["results"]
    assert "is not in UTF-8" in bad["error"] and fine["converged"]
