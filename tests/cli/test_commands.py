"""``resolvent simulate``, ``convert``, ``demo`` and the program itself."""

import itertools
import json
import re
import subprocess
import sys
import warnings

import nibabel
import numpy as np
import pytest
import torch

import resolvent as rv
from resolvent.cli.demo import SCAN
from resolvent.cli.output import reporting
from resolvent.mol import weights


@pytest.fixture
def volume(tmp_path, image):
    """Four slices that differ, as NIfTI with an affine."""
    stack = torch.stack([image * (1 + i) for i in range(4)], -1).swapaxes(0, 1).numpy()
    affine = np.diag([-2.0, -2.0, 5.0, 1.0])
    affine[:3, 3] = 1, 2, 3
    path = tmp_path / "volume.nii.gz"
    nibabel.save(nibabel.Nifti1Image(stack, affine), path)
    return path


def test_simulate_makes_a_scan_with_everything_known(resolvent, volume, tmp_path, image):
    out = tmp_path / "scan.h5"
    arguments = ("--coils", 5, "--acceleration", 4, "--mask-kind", "poisson2d", "--snr-db", 25, "--seed", 7)
    run = resolvent("simulate", volume, "-o", out, *arguments, "--json")
    assert run.code == 0
    scan = rv.read(out)
    assert scan.kspace.shape == (4, 5, 48, 48)
    assert scan.mask.mean().item() == pytest.approx(1 / 4, rel=1e-2)
    assert torch.allclose(scan.reference[2].abs(), 3 * image, atol=1e-4)
    assert np.allclose(scan.geometry.affine, nibabel.load(volume).affine)
    assert run.json == {
        "version": rv.__version__,
        "input": str(volume),
        "output": str(out),
        "shape": [4, 5, 48, 48],
        "coils": 5,
        "acceleration": 4.0,
        "mask_kind": "poisson2d",
        "snr_db": 25.0,
        "seed": 7,
        "noise": pytest.approx(scan.noise),
    }
    assert json.loads((tmp_path / "scan.json").read_text())["simulated"]["seed"] == 7
    again = rv.simulate(rv.read(volume), n_coils=5, acceleration=4, mask_kind="poisson2d", snr_db=25, seed=7)
    assert torch.equal(scan.kspace, again.kspace)


def test_simulate_one_slice_lies_where_it_lay(resolvent, volume, tmp_path, image):
    out = tmp_path / "scan.h5"
    assert resolvent("simulate", volume, "-o", out, "--slice", 3).code == 0
    scan = rv.read(out)
    assert scan.kspace.shape[0] == 1
    assert torch.allclose(scan.reference[0].abs(), 4 * image, atol=1e-4)
    assert np.allclose(scan.geometry.affine[:3, 3], [1, 2, 3 + 3 * 5])
    run = resolvent("simulate", volume, "-o", tmp_path / "other.h5", "--slice", 4)
    assert run.code == 1
    assert "has 4 slices, so there is no slice 4" in run.error


def test_simulate_in_three_dimensions(resolvent, volume, tmp_path):
    out = tmp_path / "scan.h5"
    run = resolvent("simulate", volume, "-o", out, "--ndim", 3, "--acceleration", 2)
    assert run.code == 0 and "(volume, coil, ...)" in run.out
    assert re.search(r"^  volumes +1$", resolvent("info", out).out, re.MULTILINE)
    scan = rv.read(out)
    assert scan.ndim == 3
    assert scan.kspace.shape == (1, 8, 4, 48, 48)
    np.save(tmp_path / "flat.npy", np.ones((48, 48)))
    run = resolvent("simulate", tmp_path / "flat.npy", "-o", tmp_path / "x.h5", "--ndim", 3)
    assert "are no 3-D volume" in run.error


def test_simulate_does_not_replace_its_image(resolvent, image, tmp_path):
    rv.write(image[None], tmp_path / "image.h5")
    before = (tmp_path / "image.h5").read_bytes()
    run = resolvent("simulate", tmp_path / "image.h5", "-o", tmp_path / "image.h5")
    assert run.code == 2 and "image.h5 is an input and would be replaced" in run.err
    assert (tmp_path / "image.h5").read_bytes() == before


def test_simulate_keeps_the_phase_of_an_image_that_has_one(resolvent, image, tmp_path):
    np.save(tmp_path / "image.npy", (image * np.exp(1j)).numpy())
    resolvent("simulate", tmp_path / "image.npy", "-o", tmp_path / "scan.h5", "--slice", 0)
    reference = rv.read(tmp_path / "scan.h5").reference[0]
    assert torch.allclose(reference, (image * np.exp(1j)).to(torch.complex64), atol=1e-6)


@pytest.fixture
def checkpoint(tmp_path):
    """Random weights in the published layout, small enough to contract."""
    widths = [2, 8, 8, 2]
    weights = {"f.lam": torch.tensor(100.0)}
    random = torch.Generator().manual_seed(0)
    for layer, (before, after) in enumerate(itertools.pairwise(widths)):
        kernel = torch.randn(after, before, 3, 3, generator=random)
        weights[f"f.dw.net.{layer}.conv.weight"] = kernel / (9 * (before * after) ** 0.5)
        weights[f"f.dw.net.{layer}.conv.bias"] = torch.zeros(after)
    path = tmp_path / "model.pth.tar"
    torch.save({"state_dict": weights}, path)
    return path


def test_convert_writes_a_model_that_loads_and_says_what_it_found(resolvent, checkpoint, tmp_path):
    run = resolvent("convert", checkpoint, "-o", tmp_path / "mine", "--alpha", 0.02, "--json")
    assert run.code == 0
    model = rv.load(tmp_path / "mine")
    assert run.json == {
        "version": rv.__version__,
        "input": str(checkpoint),
        "output": str(tmp_path / "mine"),
        "lam": pytest.approx(100),
        "ridge": pytest.approx(0.05),
        "alpha": 0.02,
        "m": pytest.approx(model.m.value),
        "kind": "estimated",
        "tier": "estimated",
        "score": {"kind": "PlainCNN", **model.score.config},
        "parameters": sum(p.numel() for p in model.parameters()),
        "sha256": model.identity["sha256"],
    }
    card = weights.load(tmp_path / "mine").card
    assert card["converted_from"] == "model.pth.tar"
    assert card["alpha"] == 0.02
    assert "ridge 0.1 " in resolvent("convert", checkpoint, "-o", tmp_path / "again").out
    for m in (0, 1):
        run = resolvent("convert", checkpoint, "-o", tmp_path / "other", "--m", m)
        assert run.code == 1 and "between 0 and 1" in run.error
    assert not (tmp_path / "other").exists()


def test_convert_of_something_else_writes_nothing(resolvent, tmp_path):
    torch.save({"state_dict": {"layer.weight": torch.ones(3)}}, tmp_path / "other.pth")
    run = resolvent("convert", tmp_path / "other.pth", "-o", tmp_path / "mine")
    assert run.code == 1
    assert "another layout than the published one" in run.error
    assert not (tmp_path / "mine").exists()


@pytest.fixture
def packaged(monkeypatch, model, tmp_path):
    """The tiny model under the name of the packaged one."""
    folder = tmp_path / "weights" / "brain-2d"
    rv.save(rv.load(model), folder)
    monkeypatch.setattr(weights, "PACKAGED", folder.parent)


def test_demo_draws_prints_and_certifies(resolvent, packaged, tmp_path):
    run = resolvent("demo", "-o", tmp_path / "demo", "--json")
    assert run.code == 0
    assert run.err == ""
    (entry,) = run.json["results"]
    assert entry["model"] == "brain-2d"
    assert entry["certificate"]["proved"]
    assert set(entry["metrics"]) == {"zero_filled", "sense", "model"}
    assert entry["output"] == str(tmp_path / "demo" / "demo.nii.gz")
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == ["demo.json", "demo.nii.gz", "demo.png", "scan.h5"]
    assert rv.read(tmp_path / "demo" / "scan.h5").reference is not None
    assert (tmp_path / "demo" / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_demo_without_its_model_writes_nothing(resolvent, monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "PACKAGED", tmp_path / "none")
    run = resolvent("demo", "-o", tmp_path / "demo")
    assert run.code == 1
    assert "brain-2d" in run.error
    assert not (tmp_path / "demo").exists()


def test_demo_into_a_file_is_refused_before_the_work(resolvent, packaged, tmp_path, monkeypatch):
    monkeypatch.setattr(rv.MOL, "solve", None)
    (tmp_path / "taken").write_text("")
    run = resolvent("demo", "-o", tmp_path / "taken")
    assert run.code == 1
    assert "cannot be made" in run.error


def test_the_packaged_scan_is_small_and_tells_the_truth():
    assert SCAN.stat().st_size < 2e6
    scan = rv.read(SCAN)
    assert scan.kspace.shape == (1, 8, 176, 144)
    assert scan.mask.mean().item() == pytest.approx(1 / 6, rel=1e-3)
    A = rv.SENSE(scan.maps, scan.mask)
    noise = (scan.kspace - A(scan.reference))[:, :, scan.mask[0] != 0]
    assert noise.abs().square().mean().sqrt().item() == pytest.approx(scan.noise, rel=0.02)
    assert A.norm_bound.item() < 1.001


def test_version_and_help_import_nothing_heavy():
    code = (
        "import sys\nfrom resolvent.cli import app\n"
        "try: app(['recon', '--help'])\nexcept SystemExit as e: assert not e.code\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "h5py", "matplotlib"} & set(done.stderr.split())


def test_version(resolvent):
    assert resolvent("--version").out == f"resolvent {rv.__version__}\n"


def test_a_warning_is_a_line_on_stderr(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with reporting(as_json=True, debug=False):
            warnings.warn("scan.h5 has slices in different directions. Export each.", stacklevel=1)
    assert capsys.readouterr() == ("", "resolvent: warning: scan.h5 has slices in different directions. Export each.\n")


def test_nothing_but_json_on_stdout_of_the_real_program(store, scan, model, tmp_path):
    """As a process: whatever libraries print or warn of must not reach stdout."""
    program = [sys.executable, "-m", "resolvent"]
    arguments = ["recon", store(scan), tmp_path / "absent.h5", "-o", tmp_path / "out", "--model", model, "--json"]
    done = subprocess.run([*program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 1
    good, bad = json.loads(done.stdout)["results"]
    assert good["converged"] is True
    assert done.stderr == f"resolvent: error: {bad['error']}\n"
