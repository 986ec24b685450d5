"""Phantoms that others made, and standard streams, go through the command line without options."""

import io
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.io import savemat


def reconstructed(resolvent, file: Path, model: Path, out: Path) -> np.ndarray:
    done = resolvent("recon", file, "-o", out, "--model", model, "--json")
    assert done.code == 0, done.err
    assert done.json["results"][0]["converged"]
    return np.abs(np.load(out))


def made(tmp_path: Path, program: str, *arguments: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (make oracles)")
    subprocess.run([program, *arguments], cwd=tmp_path, check=True, capture_output=True)


def test_ismrmrd_phantom(resolvent, model, tmp_path):
    made(tmp_path, "ismrmrd_generate_cartesian_shepp_logan", "-m", "64", "-c", "4", "-n", "0.001", "-o", "phantom.h5")
    image = reconstructed(resolvent, tmp_path / "phantom.h5", model, tmp_path / "out.npy")
    assert image.shape[-2:] == (64, 64)
    assert image[..., 24:40, 24:40].mean() > 5 * image[..., :4, :4].mean()


def test_bart_phantom(resolvent, model, tmp_path):
    made(tmp_path, "bart", "phantom", "-k", "-s", "4", "-x", "64", "k")
    image = reconstructed(resolvent, tmp_path / "k.cfl", model, tmp_path / "out.npy")
    assert image.shape == (1, 64, 64)
    assert image[:, 24:40, 24:40].mean() > 5 * image[:, :4, :4].mean()


def test_siemens_phantom(resolvent, model, tmp_path, shared_data):
    file = shared_data / "phantom_16ch_siemens.dat"
    if not file.exists():
        pytest.skip("development data are not on this machine")
    image = reconstructed(resolvent, file, model, tmp_path / "out.npy")
    assert np.isfinite(image).all() and image.max() > 0


def test_array_of_a_mat_file_is_named(resolvent, full, model, tmp_path):
    array = full.kspace[0].numpy().transpose(1, 2, 0)  # (row, column, coil)
    savemat(tmp_path / "several.mat", {"kspace_a": array, "kspace_b": 2 * array})
    given = ("recon", tmp_path / "several.mat", "--model", model)
    assert "Name one with --dataset" in resolvent(*given).error
    for command in (("certify", model), ("attack", model), ("adapt", "-o", tmp_path / "adapted")):
        arguments = (*command, tmp_path / "several.mat", "--steps", 1)
        assert "Name one with --dataset" in resolvent(*arguments).error
        assert "has no array c; it holds" in resolvent(*arguments, "--dataset", "c").error
    one, two = (tmp_path / "a.npy", tmp_path / "b.npy")
    for name, out in (("kspace_a", one), ("kspace_b", two)):
        done = resolvent(*given, "--dataset", name, "-o", out)
        assert done.code == 0, done.err
    np.testing.assert_allclose(np.load(two), 2 * np.load(one), rtol=1e-3, atol=1e-3 * np.abs(np.load(two)).max())


def test_stream_in_and_stream_out(resolvent, store, scan, model, tmp_path, monkeypatch):
    mrd = pytest.importorskip("mrd", reason="mrd-python is not installed (extra mrd)")
    file = store(scan)
    wanted = reconstructed(resolvent, file, model, tmp_path / "out.npy")
    from resolvent.cli import app

    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(file.read_bytes())))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    app(["recon", "-", "-o", "-", "--model", str(model)], standalone_mode=False)
    with mrd.BinaryMrdReader(io.BytesIO(out.getvalue())) as reader:
        reader.read_header()
        (item,) = list(reader.read_data())
    np.testing.assert_allclose(np.abs(item.value.data[0, 0]), wanted[0], rtol=1e-4, atol=1e-4 * wanted.max())
