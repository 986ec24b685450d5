"""``resolvent recon``: what it writes, prints and returns."""

import hashlib
import json
import os
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

import resolvent as rv
from resolvent.cli import reconstruct
from resolvent.data import MASK_KINDS, metrics, simulate, undersample
from resolvent.monotone import CertifiedPlanes, CertifiedSeries, ProductNetwork

CERTIFICATE = {"proved", "tier", "m", "distance", "data_gain", "data_gain_kind"}
ENTRY = {
    "input",
    "output",
    "model",
    "status",
    "converged",
    "steps",
    "evaluations",
    "applications",
    "seconds",
    "certificate",
    "fit",
}


def test_json_has_the_shape_that_scripts_rely_on(resolvent, store, scan, model, tmp_path):
    path, out = store(scan), tmp_path / "out.nii.gz"
    run = resolvent("recon", path, "-o", out, "--model", model, "--json")
    assert run.code == 0
    assert run.err == ""
    assert set(run.json) == {"version", "results"}
    (entry,) = run.json["results"]
    assert set(entry) == ENTRY | {"metrics"}
    assert set(entry["certificate"]) == CERTIFICATE
    assert set(entry["metrics"]) == {"zero_filled", "sense", "model"}
    assert all(set(score) == {"psnr", "ssim", "nmse"} for score in entry["metrics"].values())
    assert (entry["input"], entry["output"], entry["model"]) == (str(path), str(out), "tiny")
    assert entry["converged"] is True
    assert entry["status"] == "converged"
    assert entry["certificate"]["proved"] is True
    assert entry["certificate"]["tier"] == "per-scan"
    assert entry["certificate"]["distance"] <= 1e-3


@pytest.mark.parametrize("given", [True, False])
def test_no_gain_is_without_conditions_where_units_come_from_the_data(resolvent, store, full, tmp_path, given):
    network = rv.MOL(ProductNetwork(channels=4, depth=2), lam=10.0)
    assert network.tier == "all-data"
    folder = rv.save(network, tmp_path / "plain")
    path = store(full if given else full.replace(coil_maps=None))
    for command in (("recon", path, "--model", folder), ("certify", folder, path, "--steps", 1)):
        found = resolvent(*command, "--json").json
        certificate = found.get("certificate") or found["results"][0]["certificate"]
        assert (certificate["tier"], certificate["proved"]) == ("all-data", True)
        assert certificate["data_gain_kind"] == "conditioning held"


def test_without_reference_there_are_no_metrics(resolvent, store, scan, model, tmp_path):
    path = store(scan.replace(reference=None))
    run = resolvent("recon", path, "-o", tmp_path / "out.npy", "--model", model, "--json")
    assert set(run.json["results"][0]) == ENTRY


def test_the_image_is_the_one_of_the_library_in_units_of_the_file(resolvent, store, scan, model, tmp_path):
    big = scan.replace(kspace=scan.kspace * 250, noise=scan.noise * 250, reference=scan.reference * 250)
    run = resolvent("recon", store(big), "-o", tmp_path / "out.npy", "--model", model)
    assert run.code == 0
    A = rv.SENSE(big.maps, big.mask)
    wanted = rv.load(model).solve(big.kspace, A, noise=big.noise).image
    found = torch.from_numpy(np.load(tmp_path / "out.npy"))
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()
    assert found.abs().max() > 100


def test_noise_that_is_known_to_be_none_is_not_estimated(resolvent, store, scan, model, tmp_path):
    levels = []
    for noise in (0.0, None):
        out = tmp_path / "out.npy"
        assert resolvent("recon", store(scan.replace(noise=noise)), "-o", out, "--model", model).code == 0
        levels += json.loads(out.with_suffix(".json").read_text())["noise"]
    assert levels[0] == 0 < levels[1]


def test_people_get_a_table_and_the_certificate(resolvent, store, scan, model, tmp_path):
    run = resolvent("recon", store(scan), "-o", tmp_path / "out.npy", "--model", model)
    assert "PSNR" in run.out
    assert all(name in run.out for name in ("Zero-filled", "SENSE", "Model", "against the reference in the file"))
    assert "|x - x*| <=" in run.out
    assert "(proved)" in run.out
    assert str(tmp_path / "out.npy") in run.out
    assert run.err == ""


def test_sidecar_says_how_the_image_was_made(resolvent, store, full, model, tmp_path):
    path = store(full.replace(coil_maps=None))
    arguments = ("--acceleration", 2, "--mask-kind", "gaussian2d", "--seed", 3)
    resolvent("recon", path, "-o", tmp_path / "out.nii.gz", "--model", model, *arguments)
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["input"] == "scan.h5"
    assert record["input_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["model"] == {"name": "tiny", "sha256": rv.load(model).identity["sha256"]}
    assert record["version"] == rv.__version__
    assert record["retrospective"] == {"acceleration": 2.0, "kind": "gaussian2d", "seed": 3}
    assert record["acceleration"] == pytest.approx(2, rel=1e-3)
    assert record["maps"] == "estimated (ESPIRiT)"
    assert record["reference"] == "the full reconstruction, with the same maps"
    assert record["converged"] is True
    assert record["certificate"]["proved"] is True
    assert record["seconds"] > 0
    assert len(record["lam"]) == len(record["residual"]) == 1


def test_retrospective_metrics_are_those_of_undersample(resolvent, store, full, model, tmp_path):
    path = store(full.replace(coil_maps=None, reference=None))
    arguments = ("--acceleration", 3, "--mask-kind", "poisson2d", "--seed", 5, "--json")
    entry = resolvent("recon", path, "--model", model, *arguments).json["results"][0]
    under = undersample(rv.read(path), 3, "poisson2d", 5)
    A = rv.SENSE(under.maps, under.mask)
    wanted = metrics(under.reference, A.adjoint(under.kspace))
    assert entry["metrics"]["zero_filled"] == pytest.approx(wanted, rel=1e-4)
    wanted = metrics(under.reference, rv.sense(under.kspace, A, noise=under.noise))
    assert entry["metrics"]["sense"] == pytest.approx(wanted, rel=1e-3)
    assert entry["metrics"]["sense"]["psnr"] > entry["metrics"]["zero_filled"]["psnr"]
    assert entry["output"] is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.h5"]


def test_the_seed_decides_on_the_mask(resolvent, store, full, model):
    path = store(full)
    scores = [
        resolvent("recon", path, "--model", model, "--acceleration", 3, "--seed", seed, "--json").json["results"][0]
        for seed in (1, 1, 2)
    ]
    first, again, other = (entry["metrics"]["model"]["psnr"] for entry in scores)
    assert first == again != other


def test_a_fully_sampled_scan_is_reconstructed_as_it_is(resolvent, store, full, model, tmp_path):
    run = resolvent("recon", store(full), "-o", tmp_path / "out.npy", "--model", model, "--json")
    assert run.code == 0
    assert run.json["results"][0]["metrics"]["zero_filled"]["psnr"] > 30


def test_maps_of_a_file_take_the_place_of_those_of_the_scan(resolvent, store, scan, model, tmp_path):
    np.save(tmp_path / "maps.npy", scan.coil_maps.numpy())
    wrong = scan.replace(coil_maps=scan.coil_maps.roll(1, dims=1))
    path = store(wrong)
    score = [
        resolvent("recon", path, "--model", model, "--json", *more).json["results"][0]["metrics"]["sense"]["psnr"]
        for more in ((), ("--maps", tmp_path / "maps.npy"))
    ]
    assert score[1] > score[0] + 5


def test_not_converged_is_written_flagged_and_has_code_3(resolvent, store, scan, model, tmp_path):
    arguments = ("--model", model, "--max-steps", 1, "--tol", 1e-6)
    run = resolvent("recon", store(scan), "-o", tmp_path / "out.nii.gz", "--json", *arguments)
    assert run.code == 3
    assert (tmp_path / "out.nii.gz").exists()
    assert run.json["results"][0]["converged"] is False
    assert "raise max_steps or loosen tol" in run.json["results"][0]["status"]
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["converged"] is False
    assert "warning" in run.err
    assert "not converged" in run.err
    assert len(run.err.splitlines()) == 1


def test_a_demanded_certificate_is_given_by_a_strict_model(resolvent, store, scan, model, tmp_path):
    run = resolvent("recon", store(scan), "-o", tmp_path / "out.npy", "--model", model, "--require-certificate")
    assert run.code == 0
    assert (tmp_path / "out.npy").exists()


def test_a_demanded_certificate_is_refused_by_an_estimated_model(resolvent, store, scan, estimated, tmp_path):
    arguments = ("-o", tmp_path / "out.npy", "--model", estimated, "--require-certificate", "--json")
    run = resolvent("recon", store(scan), *arguments)
    assert run.code == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.h5"]
    (entry,) = run.json["results"]
    assert entry["output"] is None
    assert "refused" in entry["error"]
    assert "only estimated" in run.error


def test_an_estimated_model_works_when_no_certificate_is_demanded(resolvent, store, scan, estimated, tmp_path):
    run = resolvent("recon", store(scan), "-o", tmp_path / "out.npy", "--model", estimated, "--json")
    assert run.code == 0
    certificate = run.json["results"][0]["certificate"]
    assert (certificate["proved"], certificate["tier"]) == (False, "estimated")


def test_a_certificate_that_fails_at_the_end_leaves_no_image(resolvent, store, scan, model, tmp_path, monkeypatch):
    honest = rv.MOL.solve

    def doubtful(*args, **kwargs):
        recon = honest(*args, **kwargs)
        return replace(recon, certificate=replace(recon.certificate, proved=False))

    monkeypatch.setattr(rv.MOL, "solve", doubtful)
    arguments = ("-o", tmp_path / "out.npy", "--model", model, "--require-certificate", "--json")
    run = resolvent("recon", store(scan), *arguments)
    assert run.code == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.h5"]
    assert set(run.json["results"][0]) == ENTRY | {"metrics", "error"}


def test_an_image_that_does_not_explain_the_samples_is_flagged(resolvent, store, scan, model, tmp_path):
    """The maps of another scan: unique solution, proved distance, wrong picture."""
    path = store(scan.replace(coil_maps=scan.maps.flip(-1), reference=None))
    run = resolvent("recon", path, "-o", tmp_path / "out.npy", "--model", model, "--json")
    (entry,) = run.json["results"]
    assert run.code == 0 and entry["certificate"]["proved"] and entry["fit"]["doubtful"]
    assert entry["fit"]["unexplained"][0] > 0.1
    assert "warning" in run.err and "coil maps, mask or trajectory may not be those of this scan" in run.err
    assert json.loads((tmp_path / "out.json").read_text())["fit"] == entry["fit"]


def test_a_figure_says_first_that_its_image_is_doubtful(resolvent, store, scan, model, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr("resolvent.figures.comparison", lambda path, images, **options: drawn.update(options))
    partial = torch.ones_like(scan.mask)
    partial[..., :20] = 0
    full = simulate(scan.reference, maps=scan.maps, acceleration=1)
    wrong = scan.replace(kspace=full.kspace * partial[:, None], mask=partial, coil_maps=scan.maps.flip(-1))
    assert resolvent("recon", store(wrong), "--figure", tmp_path / "out.png", "--model", model).code == 0
    lines = drawn["caption"].splitlines()
    heads = ("DOUBTFUL: |A x - b| = ", "Beware: k-space is complete in", "converged in", "|x - x*| <=", "|A x - b| = ")
    found = [head for line in lines for head in heads if line.startswith(head)]
    assert found == list(heads) and lines[0].startswith(heads[0])
    assert max(map(len, lines)) <= 110


def test_the_curve_of_a_figure_ends_where_a_slice_ends(resolvent, store, scan, model, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr("resolvent.figures.comparison", lambda path, images, **options: drawn.update(options))
    full = simulate(scan.reference, maps=scan.maps, acceleration=1)
    both = {name: torch.cat([getattr(scan, name), getattr(full, name)]) for name in ("kspace", "mask", "coil_maps")}
    stack = scan.replace(reference=None, **both)
    run = resolvent("recon", store(stack), "--figure", tmp_path / "a.png", "-o", tmp_path / "a.npy", "--model", model)
    assert run.code == 0
    curves = json.loads((tmp_path / "a.json").read_text())["curve"]["residuals"]
    steps = [len(line) for line in curves]
    assert steps[0] != steps[1], steps
    assert torch.isfinite(drawn["residuals"]).sum(0).tolist() == steps


def test_a_figure_has_the_pixels_of_the_scan(resolvent, store, scan, model, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr("resolvent.figures.comparison", lambda path, images, **options: drawn.update(options))
    flat = scan.replace(geometry=rv.Geometry(np.diag([2.0, 3.0, 1.0, 1.0])))
    resolvent("recon", store(flat), "--figure", tmp_path / "out.png", "--model", model)
    assert drawn["aspect"] == 1.5


def test_a_demanded_certificate_is_refused_where_the_image_does_not_explain_the_samples(
    resolvent, store, scan, model, tmp_path
):
    path = store(scan.replace(coil_maps=scan.maps.flip(-1)))
    run = resolvent("recon", path, "-o", tmp_path / "out.npy", "--model", model, "--require-certificate", "--json")
    assert run.code == 3 and "coil maps" in run.error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.h5"]


def test_a_demanded_certificate_is_refused_to_an_image_that_has_not_converged(resolvent, store, scan, model, tmp_path):
    arguments = ("--model", model, "--max-steps", 1, "--tol", 1e-6, "--require-certificate", "--json")
    run = resolvent("recon", store(scan), "-o", tmp_path / "out.npy", *arguments)
    assert run.code == 3 and "not converged" in run.error
    (entry,) = run.json["results"]
    assert entry["output"] is None and not entry["converged"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.h5"]


@pytest.mark.parametrize("factor", [1e-30, 1e12])
def test_scaled_data_give_the_same_picture(resolvent, store, scan, model, tmp_path, factor):
    images = []
    for name, by in (("as-is", 1.0), ("scaled", factor)):
        scaled = scan.replace(kspace=scan.kspace * by, noise=scan.noise * by, reference=None)
        run = resolvent("recon", store(scaled, f"{name}.h5"), "-o", tmp_path / f"{name}.npy", "--model", model)
        assert run.code == 0
        images.append(np.load(tmp_path / f"{name}.npy").astype(np.complex128) / by)
    assert np.linalg.norm(images[1] - images[0]) <= 1e-5 * np.linalg.norm(images[0])


@pytest.mark.parametrize("factor", [1e-30, 1.0, 1e200])
def test_scans_in_double_precision_give_the_same_picture(resolvent, store, scan, model, tmp_path, factor):
    maps = scan.maps.to(torch.complex128)
    wide = scan.replace(kspace=scan.kspace.to(torch.complex128) * factor, coil_maps=maps, noise=scan.noise * factor)
    images = []
    for name, one in (("single", scan), ("double", wide)):
        path = store(one.replace(reference=None), f"{name}.h5")
        assert resolvent("recon", path, "-o", tmp_path / f"{name}.npy", "--model", model).code == 0
        images.append(np.load(tmp_path / f"{name}.npy"))
    assert np.linalg.norm(images[1] / factor - images[0]) <= 1e-5 * np.linalg.norm(images[0])


@pytest.mark.parametrize("factor", [1e-30, 1e12])
def test_scaled_data_give_the_same_maps_and_scores(resolvent, store, full, model, factor):
    scores = []
    for by in (1.0, factor):
        scaled = full.replace(kspace=full.kspace * by, noise=None, reference=None, coil_maps=None)
        run = resolvent("recon", store(scaled), "--model", model, "--acceleration", 3, "--json")
        assert run.code == 0
        scores.append(run.json["results"][0]["metrics"])
    for name in scores[0]:
        assert scores[1][name] == pytest.approx(scores[0][name], rel=1e-4)


def test_a_slice_beside_a_hard_neighbour_is_the_same_image(resolvent, store, scan, model, tmp_path):
    easy = scan.replace(reference=None)
    random = torch.Generator().manual_seed(0)
    noisy = scan.kspace + 3 * torch.randn(scan.kspace.shape, dtype=torch.complex64, generator=random)
    both = easy.replace(
        kspace=torch.cat([easy.kspace, noisy * scan.mask.unsqueeze(1)]),
        coil_maps=torch.cat([easy.coil_maps, easy.coil_maps]),
    )
    for name, which in (("alone", easy), ("pair", both)):
        run = resolvent("recon", store(which, f"{name}.h5"), "-o", tmp_path / f"{name}.npy", "--model", model)
        assert run.code == 0
    alone, pair = np.load(tmp_path / "alone.npy"), np.load(tmp_path / "pair.npy")
    assert np.linalg.norm(pair[:1] - alone) <= 1e-6 * np.linalg.norm(alone)
    assert np.linalg.norm(pair[1:] - alone) > 0.1 * np.linalg.norm(alone)


def test_the_record_has_an_entry_for_each_slice(resolvent, store, scan, model, tmp_path):
    stack = scan.replace(
        kspace=torch.cat([scan.kspace, 100 * scan.kspace]),
        coil_maps=torch.cat([scan.coil_maps] * 2),
        reference=torch.cat([scan.reference, 100 * scan.reference]),
        scale=3.0,
        noise=None,
    )
    run = resolvent("recon", store(stack), "-o", tmp_path / "out.npy", "--model", model, "--json")
    assert run.code == 0
    record = json.loads((tmp_path / "out.json").read_text())
    assert len(record["lam"]) == len(record["noise"]) == len(record["residual"]) == 2
    assert record["scale"][1] == pytest.approx(100 * record["scale"][0], rel=1e-3)
    first, second = np.load(tmp_path / "out.npy")
    assert np.linalg.norm(second - 100 * first) <= 1e-4 * np.linalg.norm(second)
    inside = np.abs(scan.reference[0].numpy()) > 0.5
    assert np.abs(first[inside]).mean() == pytest.approx(3 * np.abs(scan.reference[0].numpy()[inside]).mean(), rel=0.2)


def test_an_error_says_which_of_several_files_is_meant(resolvent, store, scan, model):
    """Errors of the solve know no file: none fits into a byte."""
    files = [store(scan, "a.h5"), store(scan, "b.h5")]
    run = resolvent("recon", *files, "--model", model, "--max-memory", "1 MiB")
    said = [line for line in run.err.splitlines() if "The solve needs" in line]
    assert [line.split(": ")[2] for line in said] == [str(file) for file in files]


def test_the_files_of_several_slices_are_those_that_are_named(resolvent, store, scan, model, tmp_path):
    pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")
    names = [str(tmp_path / f"out-00{n}.dcm") for n in (1, 2, 3)]
    stack = scan.replace(kspace=scan.kspace.repeat(3, 1, 1, 1), coil_maps=scan.maps.repeat(3, 1, 1, 1), reference=None)
    call = ("recon", store(stack), "-o", tmp_path / "out.dcm", "--model", model)
    assert f"written: {names[0]} to {names[2]}\n" in resolvent(*call).out
    assert resolvent(*call, "--json").json["results"][0]["output"] == names
    assert all(os.path.exists(name) for name in names)


def test_the_worst_part_decides(model, scan):
    A = rv.SENSE(scan.maps, scan.mask)
    good = rv.load(model).solve(scan.kspace, A, tol=1e-4)
    bad = rv.load(model).solve(scan.kspace, A, tol=1e-9, max_steps=2)
    for order in ([good, bad], [bad, good]):
        both = reconstruct.joined(order)
        assert not both.solution.converged
        assert both.solution.steps == good.solution.steps
        assert both.solution.evaluations == good.solution.evaluations + 2
        assert both.solution.residuals.shape == (good.solution.steps, 2)
        assert both.certificate.distance == bad.certificate.distance
        assert both.image.shape[0] == both.lam.shape[0] == 2
        assert both.certificate.proved
    doubtful = replace(good, certificate=replace(good.certificate, proved=False))
    for order in ([good, doubtful], [doubtful, good]):
        assert not reconstruct.joined(order).certificate.proved


def test_three_dimensional_and_dynamic_scans(resolvent, store, image, model, tmp_path):
    volume = image[None, None] * torch.linspace(0.5, 1, 6).reshape(1, 6, 1, 1)
    stored = rv.simulate(volume + 0j, n_coils=4, acceleration=2, mask_kind="poisson2d", ndim=3)
    path = store(stored, "volume.h5")
    run = resolvent("recon", path, "-o", tmp_path / "v.npy", "--model", model, "--json", "--figure", tmp_path / "v.png")
    assert run.code == 0
    assert np.load(tmp_path / "v.npy").shape == (1, 6, 48, 48)
    dynamic = rv.simulate(volume + 0j, n_coils=4, acceleration=2, mask_kind="uniform1d")
    run = resolvent("recon", store(dynamic, "cine.h5"), "-o", tmp_path / "c.npy", "--model", model, "--json")
    assert run.code == 0
    assert np.load(tmp_path / "c.npy").shape == (1, 6, 48, 48)


def test_frames_that_share_maps_and_mask(resolvent, store, scan, model, tmp_path):
    frames = scan.replace(
        kspace=torch.stack([scan.kspace, 2 * scan.kspace], 2),
        mask=scan.mask.unsqueeze(1),
        coil_maps=scan.coil_maps.unsqueeze(2),
        reference=torch.stack([scan.reference, 2 * scan.reference], 1),
    )
    arguments = ("-o", tmp_path / "out.npy", "--model", model, "--json")
    run = resolvent("recon", store(frames), *arguments)
    assert run.code == 0
    assert np.load(tmp_path / "out.npy").shape == (1, 2, 48, 48)
    assert json.loads((tmp_path / "out.json").read_text())["remarks"] == [
        "2 frames, of which the network sees each by itself; --model cine sees a series as one"
    ]
    full = frames.replace(
        kspace=rv.SENSE(scan.maps, 0 * scan.mask + 1)(scan.reference).unsqueeze(2).repeat(1, 1, 2, 1, 1)
    )
    full = full.replace(mask=0 * frames.mask + 1)
    run = resolvent("recon", store(full, "full.h5"), *arguments, "--acceleration", 3)
    assert run.code == 0
    assert run.json["results"][0]["metrics"]["sense"]["psnr"] > 20


@pytest.mark.parametrize(("kind", "said"), [(CertifiedPlanes, 1), (CertifiedSeries, 0)])
def test_a_network_for_volumes_takes_time_for_space_and_that_is_said(image, kind, said):
    frames = rv.simulate(image.expand(1, 2, 48, 48) + 0j, n_coils=4, acceleration=2)
    network = rv.MOL(kind(channels=4, layers=1, trunk_layers=1), lam=100.0, normalise=True)
    remarks = reconstruct.reconstruct(frames, network, max_steps=1).remarks
    assert remarks == ("the network treats frames as a third axis of space; --model cine is for series",)[:said]


def test_two_map_sets(resolvent, store, scan, model, tmp_path):
    two = torch.stack([scan.coil_maps, 0.1 * scan.coil_maps.roll(3, dims=-1)], 2)
    np.save(tmp_path / "maps.npy", two.numpy())
    arguments = ("--model", model, "--maps", tmp_path / "maps.npy", "--json")
    run = resolvent("recon", store(scan), "-o", tmp_path / "out.npy", *arguments)
    assert run.code == 0
    assert np.load(tmp_path / "out.npy").shape == (1, 2, 48, 48)
    assert run.json["results"][0]["metrics"]["sense"]["psnr"] > 15


def test_geometry_of_the_scan_is_that_of_the_image(resolvent, store, scan, model, tmp_path):
    affine = np.diag([-1.5, -1.25, 4.0, 1.0])
    affine[:3, 3] = 10, 20, -30
    path = store(scan.replace(geometry=rv.Geometry(affine)))
    resolvent("recon", path, "-o", tmp_path / "out.nii.gz", "--model", model)
    assert np.allclose(nibabel.load(tmp_path / "out.nii.gz").affine, affine)


def test_figure_is_drawn_with_and_without_reference(resolvent, store, scan, model, tmp_path):
    for name, which in (("with", scan), ("without", scan.replace(reference=None))):
        figure = tmp_path / f"{name}.png"
        run = resolvent("recon", store(which, f"{name}.h5"), "--model", model, "--figure", figure, "--json")
        assert run.code == 0
        assert run.json["results"][0]["figure"] == str(figure)
        assert figure.read_bytes().startswith(b"\x89PNG")


def test_many_files_go_to_a_folder_and_a_bad_one_does_not_stop_the_others(resolvent, store, scan, model, tmp_path):
    good, late = store(scan, "good.h5"), store(scan, "late.h5")
    bad = tmp_path / "bad.h5"
    bad.write_bytes(good.read_bytes()[:5000])
    out = tmp_path / "new" / "out"
    run = resolvent("recon", good, bad, late, "-o", out, "--model", model, "--json")
    assert run.code == 1
    assert sorted(p.name for p in out.iterdir()) == ["good.json", "good.nii.gz", "late.json", "late.nii.gz"]
    first, second, third = run.json["results"]
    assert set(first) == set(third) == ENTRY | {"metrics"}
    assert set(second) == {"input", "error"}
    assert second["input"] == str(bad)
    assert "bad.h5" in run.error


def test_a_pattern_names_the_format_of_many_images(resolvent, store, scan, model, tmp_path):
    paths = [store(scan, "a.h5"), store(scan, "b.h5")]
    figure = tmp_path / "{name}-figure.png"
    run = resolvent("recon", *paths, "-o", tmp_path / "x" / "{name}.png", "--figure", figure, "--model", model)
    assert run.code == 0
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["a.json", "a.png", "b.json", "b.png"]
    assert (tmp_path / "a-figure.png").exists()
    assert run.out.count("PSNR") == 2


def test_fault_outranks_not_converged(resolvent, store, scan, model, tmp_path):
    arguments = ("--model", model, "--max-steps", 1, "--tol", 1e-6)
    assert resolvent("recon", store(scan), tmp_path / "absent.h5", *arguments).code == 1


def test_an_unexpected_error_is_one_line_and_the_batch_goes_on(resolvent, store, scan, model, monkeypatch):
    paths = [store(scan, "a.h5"), store(scan, "b.h5")]
    honest, calls = rv.MOL.solve, []

    def fragile(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("by\nzero")
        return honest(*args, **kwargs)

    monkeypatch.setattr(rv.MOL, "solve", fragile)
    run = resolvent("recon", *paths, "--model", model, "--json")
    assert run.code == 1
    assert "internal error: ZeroDivisionError: by zero." in run.error
    assert [set(entry) for entry in run.json["results"]] == [{"input", "error"}, ENTRY | {"metrics"}]


def test_debug_shows_the_traceback(resolvent, model, tmp_path):
    run = resolvent("recon", tmp_path / "absent.h5", "--model", model, "--debug")
    assert run.code == 1
    assert "Traceback" in run.err
    assert "does not exist" in run.err
    assert "Traceback" not in resolvent("recon", tmp_path / "absent.h5", "--model", model).err


def test_interrupt_tells_of_the_scans_that_are_done(resolvent, store, scan, model, tmp_path, monkeypatch):
    files, solve = [store(scan, "a.h5"), store(scan, "b.h5")], rv.MOL.solve

    def once(*args, **kwargs):
        monkeypatch.setattr(rv.MOL, "solve", stop)
        return solve(*args, **kwargs)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(rv.MOL, "solve", once)
    run = resolvent("recon", *files, "-o", tmp_path / "out" / "", "--model", model, "--json")
    assert run.code == 130 and run.err == "resolvent: interrupted\n"
    assert [entry["input"] for entry in run.json["results"]] == [str(files[0])] and run.json["error"] == "interrupted"
    assert run.json["results"][0]["output"] == str(tmp_path / "out" / "a.nii.gz")


def test_interrupt_leaves_nothing(resolvent, store, scan, model, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(rv.MOL, "solve", stop)
    run = resolvent("recon", store(scan), "-o", tmp_path / "new" / "", "--model", model, "--json")
    assert run.code == 130
    assert run.err == "resolvent: interrupted\n"
    assert not (tmp_path / "new").exists()


def test_help_lists_all_mask_kinds(resolvent):
    text = resolvent("recon", "--help").out
    assert all(kind in text for kind in MASK_KINDS)


def test_real_brain_scan(resolvent, shared_data, model, tmp_path):
    """Sixteen coils, maps estimated from what was kept, and a bound that holds against a solve to 1e-9."""
    path, out = shared_data / "brain_16coil_kspace.h5", tmp_path / "out.h5"
    arguments = ("--acceleration", 4, "--mask-kind", "gaussian2d", "--seed", 1, "--model", model, "--json")
    run = resolvent("recon", path, "-o", out, *arguments)
    assert run.code == 0
    certificate = run.json["results"][0]["certificate"]
    assert certificate["proved"]
    assert certificate["distance"] <= 1e-2
    under = undersample(rv.read(path).normalised(), 4, "gaussian2d", 1)
    exact = rv.solve_reference(rv.load(model), under.kspace, rv.SENSE(under.maps, under.mask)) * under.scale
    found = rv.read(out).image
    assert (found - exact).norm() <= certificate["distance"] * found.norm() * (1 + 1e-5)


def test_the_limit_of_memory_is_not_that_of_another_device(resolvent, store, scan, model, monkeypatch):
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: torch.ones(1))  # as if there were a GPU
    run = resolvent("recon", store(scan), "--model", model, "--device", "cuda", "--max-memory", "4GiB")
    assert run.code == 2
    assert "--max-memory limits the memory of the CPU only" in run.err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU in this machine")
def test_a_gpu_makes_the_image_of_the_processor(resolvent, store, scan, tmp_path):
    images = []
    for device in ("cpu", "cuda"):
        out = tmp_path / f"{device}.npy"
        run = resolvent("recon", store(scan), "-o", out, "--tol", 1e-4, "--device", device, "--json")
        assert run.json["results"][0]["certificate"]["distance"] <= 1e-4
        images.append(np.load(out))
    assert np.linalg.norm(images[1] - images[0]) < 2e-4 * np.linalg.norm(images[0])  # each is within 1e-4


def test_everything_found_moves_to_another_device(scan):
    recon = rv.load("brain-2d-small").solve(scan.kspace, scan.operator(), max_steps=1)
    moved = recon.to("meta")
    found = (moved.image, moved.solution.x, moved.solution.sample_steps, moved.certificate.distances, moved.fit.misfit)
    assert {t.device.type for t in found} == {"meta"}
    assert recon.to("cpu").record() == recon.record()
