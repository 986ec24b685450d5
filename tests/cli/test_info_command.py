"""``resolvent info``: of a scan, an image, and a model by any of its names."""

import nibabel
import numpy as np
import pytest
import torch

import resolvent as rv
from resolvent._errors import ModelError
from resolvent.mol import weights
from resolvent.monotone import ProductNetwork


def test_info_of_a_scan(resolvent, store, scan):
    affine = np.diag([-1.5, -2.0, 4.0, 1.0])
    path = store(scan.replace(geometry=rv.Geometry(affine)))
    found = resolvent("info", path, "--json").json
    assert found.pop("noise") == pytest.approx(scan.noise)
    assert found.pop("sampling") == {"acceleration": 3.0, "pattern": "points", "same_for_all": True}
    assert found == {
        "version": rv.__version__,
        "kind": "scan",
        "input": str(path),
        "format": "resolvent HDF5",
        "ndim": 2,
        "slices": 1,
        "coils": 4,
        "lead": [],
        "matrix": [48, 48],
        "maps": [1, 4, 48, 48],
        "calibration": None,
        "reference": True,
        "voxel_mm": [1.5, 2.0, 4.0],
        "oriented": True,
        "affine": affine.tolist(),
    }


@pytest.mark.parametrize(("kind", "pattern"), [("random1d", "lines along y"), ("poisson2d", "points")])
def test_info_tells_lines_from_points(resolvent, store, image, kind, pattern):
    made = rv.simulate(image, n_coils=2, acceleration=4, mask_kind=kind)
    found = resolvent("info", store(made), "--json").json["sampling"]
    assert found["pattern"] == pattern
    assert found["acceleration"] == pytest.approx(4)


def test_info_of_a_full_scan_without_maps_for_a_person(resolvent, store, full):
    text = resolvent("info", store(full.replace(coil_maps=None, noise=None))).out
    assert "pattern full" in text
    assert "none (ESPIRiT will estimate them)" in text
    assert "unknown (will be estimated)" in text


def test_info_says_that_the_orientation_is_unknown(resolvent, store, scan):
    path = store(scan.replace(geometry=rv.Geometry(np.diag([-1.5, -2.0, 4.0, 1.0]), oriented=False)))
    assert "oriented     no (only the voxel size is known)" in resolvent("info", path).out
    assert resolvent("info", path, "--json").json["oriented"] is False


def test_info_of_an_image(resolvent, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 6, 7), np.float32), np.diag([1, 2, 3, 1])), tmp_path / "v.nii.gz")
    found = resolvent("info", tmp_path / "v.nii.gz", "--json").json
    assert (found["kind"], found["format"], found["shape"]) == ("image", "NIfTI", [7, 6, 5])
    assert found["voxel_mm"] == [1, 2, 3]


def test_info_of_a_model(resolvent, model):
    for what in (model, model / "model.json", model / "model.safetensors"):
        found = resolvent("info", what, "--json").json
        assert found["kind"] == "model"
        assert found["name"] == "tiny"
        assert found["tier"] == "per-scan"
        assert found["m"] == {"value": pytest.approx(0.1), "kind": "proved"}
        assert found["lam"] == pytest.approx(100)
        assert found["sha256"] == rv.load(model).identity["sha256"]
        assert found["card"] == {"data": "none"}
        assert found["parameters"] == sum(p.numel() for p in rv.load(model).parameters())
    text = resolvent("info", model).out
    assert "0.1 (proved)" in text
    assert "kind ConditionedStack" in text


def test_constants_of_a_model_with_a_ridge_belong_together(resolvent, tmp_path):
    rv.save(rv.MOL(ProductNetwork(m=0.2, channels=4, depth=2), ridge=0.1), tmp_path / "ridge")
    found = resolvent("info", tmp_path / "ridge", "--json").json
    assert found["m"]["value"] == pytest.approx(0.3)
    assert found["c"]["value"] == pytest.approx(1.1)
    assert found["c"]["value"] - found["r"]["value"] == pytest.approx(found["m"]["value"])


def test_info_and_recon_ask_for_a_model_of_the_hub_once(resolvent, model, store, scan, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(weights, "fetched", lambda name, files: asked.append((name, files)) or model)
    monkeypatch.chdir(tmp_path)
    found = resolvent("info", "owner/tiny-1.5@0123abc", "--json").json
    assert found["kind"] == "model" and found["card"] == {"data": "none"}
    assert asked == [("owner/tiny-1.5@0123abc", (weights.WEIGHTS, weights.CARD))]
    assert resolvent("recon", store(scan), "--model", "owner/tiny-1.5@0123abc", "-o", "image.npy").code == 0
    assert len(asked) == 2


def test_info_asks_the_hub_for_no_file_and_says_what_the_hub_says(resolvent, tmp_path, monkeypatch):
    def refused(name, files):
        raise ModelError(f"there is no model {name!r} here, and none there. Correct the name.")

    monkeypatch.setattr(weights, "fetched", refused)
    monkeypatch.chdir(tmp_path)
    for name in ("scans/brain.h5", "scans/brain.nii.gz", "scans/brain.cfl"):
        assert resolvent("info", name).error.endswith("There is no folder scans: check the path.")
    assert resolvent("info", "owner/tiny").error.endswith("and none there. Correct the name.")


def test_baseline_is_shown_and_refused_where_an_equation_is_needed(resolvent, store, scan, tmp_path):
    description = {"kind": "MoDL", "channels": 4, "depth": 2, "steps": 2}
    folder = weights.save(weights.build({**description, "lam": 30}), tmp_path / "unrolled", {"data": "none"})
    found = resolvent("info", folder, "--json").json
    assert found["tier"] == "none"
    assert found["lam"] == pytest.approx(30)
    assert found["network"].items() >= description.items()
    assert "m" not in found
    assert "kind MoDL, " in resolvent("info", folder).out
    for command in (("certify", folder), ("recon", store(scan), "--model", folder, "-o", tmp_path / "x.nii.gz")):
        run = resolvent(*command)
        assert run.code != 0
        assert "is a MoDL: it solves no equation" in run.error


@pytest.mark.parametrize("name", ["fastMRI HDF5", "MoDL HDF5", "BART .cfl", ".npy"])
def test_info_names_the_format(resolvent, tmp_path, name, scan):
    import h5py

    path = tmp_path / "file.h5"
    if name == "fastMRI HDF5":
        with h5py.File(path, "w") as file:
            file["kspace"] = scan.kspace.numpy()
    elif name == "MoDL HDF5":
        with h5py.File(path, "w") as file:
            file["tstOrg"], file["tstCsm"] = scan.reference.numpy(), scan.coil_maps.numpy()
            file["tstMask"] = torch.fft.ifftshift(scan.mask, dim=(-2, -1)).numpy()
    elif name == "BART .cfl":
        path = tmp_path / "file.cfl"
        rv.write(scan, path)
    else:
        path = tmp_path / "file.npy"
        np.save(path, scan.reference.numpy())
    found = resolvent("info", path, "--json").json
    assert found["format"] == name
