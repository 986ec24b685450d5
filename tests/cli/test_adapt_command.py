"""``resolvent adapt``: a model for one scan, written only where it predicts what it never saw better."""

import json
import math

import pytest
import torch

import resolvent as rv
from resolvent.mol.adapt import Adapted
from resolvent.monotone import CertifiedStack


def test_an_adapted_model_is_written_and_reconstructs(resolvent, scan, store, tmp_path):
    path, folder = store(scan), tmp_path / "adapted"
    torch.manual_seed(0)
    score = CertifiedStack(m=0.1, channels=8, layers=2, trunk_layers=1)
    rv.save(rv.MOL(score, lam=10.0, normalise=True), tmp_path / "new")
    run = resolvent("adapt", path, "-o", folder, "--model", tmp_path / "new", "--steps", 12, "--rate", 1e-2, "--json")
    assert run.code == 0, run.err
    assert run.json["better"] and run.json["after"] < run.json["before"]
    card = json.loads((folder / "model.json").read_text())["card"]
    assert card["adapted_from"]["name"] == "new" and card["steps"] == 12
    assert rv.load(folder).tier == "per-scan"
    assert resolvent("recon", path, "-o", tmp_path / "x.nii.gz", "--model", folder).code == 0


def test_nothing_is_written_where_it_does_not_help(resolvent, model, scan, store, tmp_path):
    folder = tmp_path / "adapted"
    run = resolvent("adapt", store(scan), "-o", folder, "--model", model, "--steps", 1, "--rate", 1e-14)
    assert run.code == 3
    assert "no better than before" in run.err and not folder.exists()


@pytest.mark.parametrize("rate", ["1e300", "1.5", "0", "nan"])
def test_a_rate_at_which_nothing_is_learned_is_a_usage_error(resolvent, model, scan, store, tmp_path, rate):
    run = resolvent("adapt", store(scan), "-o", tmp_path / "adapted", "--model", model, "--rate", rate)
    assert run.code == 2 and "Invalid value for '--rate'" in run.err


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_adaptation_that_diverges_says_so(resolvent, model, scan, store, tmp_path, monkeypatch, options):
    folder = tmp_path / "adapted"
    diverged = Adapted(rv.load(model), before=0.5, after=math.inf)
    monkeypatch.setattr("resolvent.mol.adapt.adapt", lambda *_, **__: diverged)
    run = resolvent("adapt", store(scan), "-o", folder, "--model", model, *options)
    assert run.code == 3 and not folder.exists()
    assert "the adaptation diverged; nothing is written. Lower --rate." in run.err
    assert not options or run.json["after"] is None


def test_an_approximate_model_is_refused(resolvent, estimated, scan, store, tmp_path):
    run = resolvent("adapt", store(scan), "-o", tmp_path / "adapted", "--model", estimated)
    assert run.code == 1
    assert "not strictly monotone" in run.error


def test_a_file_is_no_folder_of_a_model(resolvent, model, scan, store, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("")
    for folder in (taken, taken / "deeper" / "still"):
        run = resolvent("adapt", store(scan), "-o", folder, "--model", model)
        assert run.code == 1 and "is a file" in run.error


def test_the_model_that_is_adapted_is_not_replaced(resolvent, model, scan, store):
    run = resolvent("adapt", store(scan), "-o", model.parent / "." / model.name, "--model", model)
    assert run.code == 2 and "is the model to start from and would be replaced" in " ".join(run.err.split())
    assert "adapted_from" not in (model / "model.json").read_text()
