from dataclasses import replace

import pytest
import torch

import resolvent as rv
from resolvent.evaluate import methods, robustness, study
from resolvent.evaluate.methods import ZERO_FILLED
from resolvent.evaluate.robustness import Search
from resolvent.evaluate.scans import Acquisition, Files
from resolvent.evaluate.store import Store
from resolvent.evaluate.study import Study

ALL = {
    "accuracy",
    "scans",
    "steps",
    "starts",
    "iterations",
    "gaussian",
    "worst",
    "samples",
    "structures",
    "shifts",
    "local",
    "empty",
    "honesty",
}


@pytest.fixture
def small(others, data, strict, unrolled, smooth, monkeypatch):
    """Every experiment on two subjects, with a search that costs nothing; TV is the stand-in."""
    known = methods.regularised
    monkeypatch.setattr(study, "regularised", lambda name: smooth if name == "tv" else known(name))
    monkeypatch.setattr(study, "WINDOW", 5)
    monkeypatch.setattr("resolvent.evaluate.cost.REPEATS", 1)
    monkeypatch.setattr(robustness, "LINEAR_STEPS", 5)
    whole = Study(
        Files((str(data),), slices=1),
        [Acquisition(3.0, coils=2)],
        models=[strict, unrolled],
        baselines=("zero-filled", "tv"),
        tune=Files((str(others),)),
        convergence=True,
        robustness=True,
        cost=True,
    ).quick()
    return replace(whole, levels=(0.05,), search=Search(steps=1, starts=1, methods=("pgd",), draws=1), draws=1)


def test_every_experiment_has_its_rows_and_is_not_done_twice(small, tmp_path, monkeypatch):
    found = small.run(Store(tmp_path / "rows.jsonl"))
    assert set(found) == ALL | {"cost"}
    names = ["zero-filled", "tv", "strict", "unrolled"]
    assert [row["method"] for row in found["accuracy"]] == names
    assert len(found["scans"]) == 4 * 2
    assert {row["method"] for row in found["worst"]} == {row["method"] for row in found["gaussian"]} == set(names)
    assert len(found["samples"]) == 4 * 3
    assert {row["method"] for row in found["iterations"]} == {"strict", "unrolled"}
    assert {row["method"] for row in found["steps"]} == {"strict"}
    assert [row["method"] for row in found["cost"]] == names
    for rows in found.values():
        for row in rows:
            assert {"method", "data", "data_sha256", "seed", "version", "commit", "model_sha256"} <= row.keys()
    monkeypatch.setattr(methods.Method, "reconstruct", lambda *_: 1 / 0)
    assert small.run(Store(tmp_path / "rows.jsonl")) == found


def test_perturbations_that_are_not_named_are_left_out(small, tmp_path):
    only = replace(small, convergence=False, cost=False, models=(), perturbations=("gaussian", "samples"))
    found = only.run(Store(tmp_path / "rows.jsonl"))
    assert {name for name, rows in found.items() if rows} == {"accuracy", "scans", "gaussian", "samples"}


def test_a_run_that_was_interrupted_goes_on_where_it_was(small, tmp_path, monkeypatch):
    only = replace(small, convergence=False, robustness=False, cost=False, models=())
    whole = only.run(Store(tmp_path / "whole.jsonl"))
    done = []
    reconstruct = methods.Method.reconstruct

    def until(method, *arguments):
        done.append(method.name)
        if len(done) == 5:
            raise KeyboardInterrupt
        return reconstruct(method, *arguments)

    monkeypatch.setattr(methods.Method, "reconstruct", until)
    with pytest.raises(KeyboardInterrupt):
        only.run(Store(tmp_path / "rows.jsonl"))
    rest = only.run(Store(tmp_path / "rows.jsonl"))["scans"]
    total = len((tmp_path / "whole.jsonl").read_text().splitlines())
    assert len(done) == total + 1  # the one that was interrupted
    times = ("seconds",)
    assert [{k: v for k, v in row.items() if k not in times} for row in rest] == [
        {k: v for k, v in row.items() if k not in times} for row in whole["scans"]
    ]


def test_weights_are_chosen_on_other_subjects_and_rows_say_on_which(small, tmp_path, monkeypatch):
    only = replace(small, convergence=False, robustness=False, cost=False, models=(), probes=2)
    rows = only.run(Store(tmp_path / "rows.jsonl"))["accuracy"]
    assert rows[0]["tuned"] is None
    assert rows[1]["tuned"] == "train.h5: 2 scans"
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    tried = [line for line in lines if '"tuning"' in line]
    assert len(tried) >= 2 * 3
    assert all('"train.h5"' in line and '"val.h5"' not in line for line in tried)


def test_the_best_weight_on_the_test_data_is_called_that(small, tmp_path):
    files = small.files
    only = replace(small, convergence=False, robustness=False, cost=False, models=(), tune=files)
    assert only.run(Store(tmp_path / "rows.jsonl"))["accuracy"][1]["tuned"] == "val.h5 (the test data): 1 scan"


def test_without_tuning_data_a_method_has_its_own_weight(small, tmp_path, smooth):
    only = replace(small, convergence=False, robustness=False, cost=False, models=(), tune=None)
    row = only.run(Store(tmp_path / "rows.jsonl"))["accuracy"][1]
    assert (row["weight"], row["tuned"]) == (smooth.first, None)


def test_more_accelerations_use_the_scans_of_accuracy_where_they_are_the_same(small, tmp_path):
    few = replace(small, convergence=False, cost=False, models=(), baselines=("zero-filled",), accelerations=(2.0, 3.0))
    found = few.run(Store(tmp_path / "rows.jsonl"))
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert sum('"accuracy"' in line for line in lines) == 2 + 1  # two subjects at R = 3; one probe at R = 2
    assert found["samples"][0]["psnr"] > found["samples"][1]["psnr"]


def test_accelerations_that_cannot_be_reached_are_left_out_of_the_robustness_study(small, tmp_path):
    few = replace(small, convergence=False, cost=False, models=(), baselines=("zero-filled",), tune=None)
    few = replace(few, perturbations=("samples", "structures"), accelerations=(3.0, 400.0))
    found = few.run(Store(tmp_path / "rows.jsonl"))
    assert [{row["acceleration"] for row in found[name]} for name in ("samples", "structures")] == [{3.0}, {3.0}]
    with pytest.raises(rv.ResolventError, match="Acceleration 400"):  # what was asked for is refused
        replace(few, acquisitions=[Acquisition(400.0)]).run(Store(tmp_path / "rows.jsonl"))


def test_the_example_shows_the_first_scan(small, tmp_path):
    only = replace(small, models=(), baselines=("zero-filled",))
    case, images = only.example(Store(tmp_path / "rows.jsonl"))
    assert torch.equal(images["zero-filled"], case.A.adjoint(case.y))


def test_the_example_is_not_reconstructed_again(small, tmp_path, monkeypatch):
    one = replace(small, robustness=False, convergence=False, cost=False)
    store = Store(tmp_path / "rows.jsonl")
    found = one.run(store)
    for kind in {type(method) for method in (*one.models, ZERO_FILLED)}:
        monkeypatch.setattr(kind, "reconstruct", lambda *_: pytest.fail("a second time"))
    case, images = one.example(store)
    first = [row for row in found["scans"] if row["subject"] == one.files.few(one.acquisitions[0], 1)[0].subject.name]
    psnr = {row["method"]: row["psnr"] for row in first}
    assert {name: rv.data.metrics(case.reference, x)["psnr"] for name, x in images.items()} == pytest.approx(psnr, 1e-5)


def test_what_cannot_be_compared_is_refused(small, tmp_path, strict):
    for wrong in ({"models": (), "baselines": ()}, {"models": (strict, strict)}, {"baselines": ("magic",)}):
        with pytest.raises(rv.ResolventError, match="cannot be compared"):
            replace(small, **wrong).run(Store(tmp_path / "rows.jsonl"))
    with pytest.raises(rv.ResolventError, match="no perturbation earthquake"):
        replace(small, perturbations=("worst", "earthquake")).run(Store(tmp_path / "rows.jsonl"))
    assert ZERO_FILLED.name in study.BASELINES
