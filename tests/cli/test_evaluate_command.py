"""``resolvent evaluate``: what it writes, prints and refuses."""

import json
import shlex

import h5py
import numpy as np
import pytest
import torch

import resolvent as rv
from resolvent import figures
from resolvent.evaluate import BASELINES, Study, convergence, cost, methods, plots
from resolvent.mol import baselines
from resolvent.monotone import PlainCNN

KEYS = {
    "data",
    "acceleration",
    "mask",
    "snr",
    "coils",
    "size",
    "method",
    "tier",
    "psnr",
    "psnr_std",
    "ssim",
    "ssim_std",
    "nmse",
    "nmse_std",
    "seconds",
    "subjects",
    "scans",
    "best",
    "p",
    "best_ssim",
    "p_ssim",
    "converged",
    "evaluations",
    "distance",
    "weight",
    "tuned",
    "model_sha256",
    "version",
    "commit",
    "seed",
    "data_sha256",
}


@pytest.fixture
def data(tmp_path, image):
    """Two subjects of two slices."""
    path = tmp_path / "val.h5"
    stack = np.stack([image[:40, 8:40].numpy(), image[8:, 8:40].numpy()])
    with h5py.File(path, "w") as file:
        for name in ("ada", "bob"):
            file.create_group(name)["magnitude"] = stack if name == "ada" else stack[:, ::-1]
    return path


@pytest.fixture
def tiny(data, tmp_path):
    """Options of a study that takes a second."""
    sampling = ("--acceleration", 3, "--coils", 2, "--size", 20, "--slices", 1)
    return ("--data", data, "--output", tmp_path / "out", *sampling, "--quick")


def test_json_has_the_rows_that_scripts_rely_on(resolvent, model, tiny, data, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/bin/resolvent", "evaluate", "tiny", "--data", "my heads.h5"])
    run = resolvent("evaluate", model, *tiny, "--mask-kind", "uniform1d", "--mask-kind", "radial", "--json")
    assert run.code == 0, run.err
    found = run.json
    assert set(found) == {"version", "output", "rows"}
    assert [(row["mask"], row["acceleration"], row["snr"]) for row in found["rows"]] == [
        ("radial", 3.0, 30.0),
        ("uniform1d", 3.0, 30.0),
    ]
    for row in found["rows"]:
        assert set(row) == KEYS
        assert (row["method"], row["tier"], row["data"], row["size"]) == ("tiny", "per-scan", "val.h5", 20)
        assert (row["subjects"], row["scans"], row["converged"]) == (2, 2, 2)
        assert row["model_sha256"] == rv.load(model).identity["sha256"]
        assert 5 < row["psnr"] < 60
    written = {path.name for path in (tmp_path / "out").iterdir()}
    tables = {"rows.jsonl", "results.json", "accuracy.csv", "accuracy.inc", "scans.csv"}
    assert tables | {"accuracy.png", "accuracy.svg", "example.png", "images"} == written
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored["accuracy"] == found["rows"]
    assert stored["command"] == "resolvent evaluate tiny --data 'my heads.h5'"
    assert stored["machine"]["threads"] >= 1


@pytest.fixture
def no_figures(monkeypatch):
    """Leave out what takes a second."""
    monkeypatch.setattr(plots, "write", lambda folder, found: [])
    monkeypatch.setattr(figures, "comparison", lambda *arguments, **options: None)


@pytest.mark.usefixtures("no_figures")
def test_the_command_that_is_kept_can_be_given_again(resolvent, model, tiny, tmp_path, monkeypatch):
    given = ["resolvent", "evaluate", "my model", "--data", "it's mine.h5"]
    monkeypatch.setattr("sys.argv", given)
    assert resolvent("evaluate", model, *tiny).code == 0
    kept = json.loads((tmp_path / "out" / "results.json").read_text())["command"]
    assert shlex.split(kept) == given


@pytest.mark.usefixtures("no_figures")
def test_a_second_call_only_does_what_is_missing(resolvent, model, tiny, tmp_path):
    assert resolvent("evaluate", model, *tiny, "--subjects", 1).code == 0
    first = (tmp_path / "out" / "rows.jsonl").read_text()
    assert resolvent("evaluate", model, *tiny).code == 0
    second = (tmp_path / "out" / "rows.jsonl").read_text()
    assert second.startswith(first)
    assert (len(first.splitlines()), len(second.splitlines())) == (1, 2)


@pytest.mark.usefixtures("no_figures")
def test_baselines_are_compared_with_and_tuned(resolvent, model, tiny, data, monkeypatch):
    def blurred(y, A, *, weight, ndim, noise=None):
        x = A.adjoint(y)
        return (x + weight * x.roll(1, -1)) / (1 + weight)

    monkeypatch.setattr(baselines, "total_variation", blurred, raising=False)
    monkeypatch.setattr(baselines, "wavelet", blurred, raising=False)
    rows = resolvent("evaluate", model, *tiny, "--baselines", "--tune", data, "--json").json["rows"]
    assert [row["method"] for row in rows] == ["zero-filled", "sense", "tv", "wavelet", "tiny"]
    assert [row["tuned"] for row in rows] == [None, *["val.h5 (the test data): 1 scan"] * 3, None]
    assert sum(row["best"] for row in rows) == 1
    assert rows[1]["weight"] is not None and rows[1]["weight"] != 100.0 * 2**16


def test_the_table_is_printed_for_a_person(resolvent, model, tiny):
    run = resolvent("evaluate", model, *tiny, "--snr-db", 20)
    assert run.code == 0
    assert "val.h5 · gaussian2d, R = 3 · 20 dB · 2 coils · 20 pixels" in run.out
    assert "tiny" in run.out and "best" in run.out and "accuracy.png" in run.out


@pytest.mark.usefixtures("no_figures")
def test_a_solve_that_does_not_converge_ends_with_code_3(resolvent, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "MAX_STEPS", 5)
    torch.manual_seed(0)
    network = rv.MOL(PlainCNN(m=0.1, channels=4, depth=2), lam=20.0)
    for weight in network.score.weights:
        weight.data.mul_(8.0)
    rv.save(network, tmp_path / "wild")
    run = resolvent("evaluate", tmp_path / "wild", *tiny, "--subjects", 1, "--json")
    assert run.code == 3
    assert "1 solves did not converge (wild)" in run.err
    assert run.json["rows"][0]["converged"] == 0


@pytest.mark.usefixtures("no_figures")
def test_images_that_are_not_finite_are_said_to_count_as_black(resolvent, tiny, tmp_path):
    torch.manual_seed(0)
    network = baselines.MoDL(channels=4, depth=2, steps=2)
    for conv in network.denoiser.convs:
        conv.weight.data.fill_(1e30)
    rv.save(network, tmp_path / "wild")
    run = resolvent("evaluate", tmp_path / "wild", *tiny, "--subjects", 1, "--json")
    assert run.code == 3
    assert "1 images are not finite (wild) and count as black" in run.err


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ((), "nothing to evaluate"),
        (("brain-2d", "--mask-kind", "spiral"), "'spiral' is not one of"),
        (("brain-2d", "--acceleration", "-1"), "not a positive number"),
        (("brain-2d", "--snr-db", "30", "--snr-db", "nan"), "nan is not a finite number"),
        (("brain-2d", "--only", "worst"), "Add --robustness"),
        (("brain-2d", "--epsilon", "0.01"), "Add --robustness"),
        (("brain-2d", "--tune", "other.h5"), "Add --baselines"),
        (("brain-2d", "--as", "movies"), "'movies' is not one of slices, volumes, series"),
    ],
)
def test_wrong_options_are_usage_errors(resolvent, tiny, wrong, says):
    run = resolvent("evaluate", *wrong, *tiny)
    assert run.code == 2
    assert says in " ".join(run.err.replace("│", " ").split())


def test_files_that_cannot_be_read_and_folders_that_cannot_be_written_are_faults(resolvent, model, tiny, tmp_path):
    run = resolvent("evaluate", model, "--data", tmp_path / "absent.h5", "--output", tmp_path / "out")
    assert run.code == 1
    assert "absent.h5" in run.error
    (tmp_path / "file").write_text("")
    run = resolvent("evaluate", model, *tiny, "--output", tmp_path / "file" / "out")
    assert run.code == 1
    assert "cannot be made" in run.error


def test_options_say_what_is_measured_and_how(resolvent, model, data, tmp_path, monkeypatch):
    asked = []

    def run(study, store, say):
        asked.append(study)
        raise rv.ResolventError("enough")

    monkeypatch.setattr(Study, "run", run)
    call = ("evaluate", model, "--data", data, "--output", tmp_path / "out")
    how = ("--robustness", "--convergence", "--cost", "--probes", 2, "--steps", 7, "--starts", 3, "--seed", 4)
    how = (*how, "--baselines", "--tune", data)
    assert resolvent(*call, *how, "--epsilon", 0.01, "--epsilon", 0.03, "--as", "series").code == 1
    assert resolvent(*call, *2 * ("--acceleration", 2), "--snr-db", 10, "--snr-db", 20, "--size", 32).code == 1
    assert resolvent(*call, "--robustness", "--quick", "--only", "worst", "--only", "gaussian").code == 1
    first, second, third = asked
    assert (first.robustness, first.convergence, first.cost, first.probes) == (True, True, True, 2)
    assert (first.baselines, second.baselines) == (BASELINES, ())
    assert (first.levels, first.search.steps, first.search.starts) == ((0.01, 0.03), 7, 3)
    assert (first.files.layout, first.files.slices, first.files.seed) == ("series", 4, 4)
    assert first.tune.layout == "series" and first.tune.seed == 4
    assert [(s.acceleration, s.snr, s.mask) for s in first.acquisitions] == [(R, None, "gaussian2d") for R in (4, 6)]
    assert [(s.acceleration, s.snr, s.size, s.coils) for s in second.acquisitions] == [(2, 10, 32, 8), (2, 20, 32, 8)]
    assert not (second.robustness or second.convergence or second.cost)
    assert len(first.search.methods) == 2 and first.search.draws == 8
    assert third.perturbations == ("worst", "gaussian") and len(first.perturbations) == 8
    assert (third.probes, third.search.steps, third.levels) == (1, 5, (0.01, 0.05))


def test_convergence_and_cost_have_figures_of_their_own(resolvent, model, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "REPEATS", 1)
    monkeypatch.setattr(convergence, "CLOSE", 1e-2)
    monkeypatch.setattr(convergence, "REFERENCE", 1e-5)
    found = resolvent("evaluate", model, *tiny, "--subjects", 1, "--convergence", "--cost", "--json").json
    assert set(found) == {"version", "output", "rows", "starts", "iterations", "cost"}
    assert all(row["within"] for row in found["starts"])
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert names == {"accuracy.png", "convergence.png", "cost.png", "example.png"}
