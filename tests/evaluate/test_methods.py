import json

import pytest
import torch

import resolvent as rv
from resolvent.evaluate.methods import ZERO_FILLED, Method, load_models, regularised
from resolvent.mol import baselines
from resolvent.mol.baselines import sense, sense_weight


def test_zero_filled_and_sense_are_those_of_the_package(case):
    assert torch.equal(ZERO_FILLED.reconstruct(case.y, case.A, case.noise)[0], case.A.adjoint(case.y))
    image, facts = regularised("sense").at(50.0).reconstruct(case.y, case.A, case.noise)
    assert torch.equal(image, sense(case.y, case.A, weight=50.0))
    assert facts["seconds"] > 0
    by_rule = regularised("sense").by_rule()
    assert torch.equal(by_rule.reconstruct(case.y, case.A, case.noise)[0], sense(case.y, case.A, noise=case.noise))
    assert by_rule.about["weight"] is None


def test_a_linear_method_holds_its_weight_while_the_data_change(case):
    hold = regularised("sense").by_rule().hold
    weight = float(sense_weight(case.y, case.A, case.noise))
    held = hold(case.y, case.A, case.noise)
    assert torch.equal(held(3 * case.y, case.A, case.noise), sense(3 * case.y, case.A, weight=weight))
    assert regularised("sense").at(50.0).about["tier"] == ZERO_FILLED.about["tier"] == "linear"


def test_variational_methods_have_a_weight_and_are_not_linear(case, monkeypatch):
    seen = []

    def function(y, A, *, weight, ndim, noise=None):
        seen.append((weight, noise, ndim))
        return A.adjoint(y)

    monkeypatch.setattr(baselines, "total_variation", function, raising=False)
    method = regularised("tv").at(0.5, "train.h5")
    method.reconstruct(case.y, case.A, case.noise)
    assert seen == [(0.5, case.noise, 2)]
    assert method.hold is None
    assert {"method": "tv", "weight": 0.5, "tuned": "train.h5", "model_sha256": None}.items() <= method.about.items()
    assert regularised("tv").by_rule().weight == regularised("tv").first


def test_a_model_tells_its_certificate_and_its_hash(case, strict):
    image, facts = strict.reconstruct(case.y, case.A, case.noise)
    recon = strict.model.solve(case.y, case.A, max_steps=200, noise=case.noise)
    assert torch.equal(image, recon.image)
    assert (facts["converged"], facts["proved"], facts["data_gain_kind"]) == (True, True, "proved")
    assert facts["distance"] == recon.certificate.distance <= 1e-3
    assert facts["evaluations"] == recon.solution.evaluations
    assert strict.about == {
        "method": "strict",
        "tier": "all-data",
        "model_sha256": "0" * 64,
        "architecture": json.dumps(rv.mol.weights.describe(strict.model)),
        "weight": None,
        "tuned": None,
    }


def test_a_model_of_the_same_weights_and_other_steps_is_another_method(unrolled, tmp_path):
    folder = rv.save(unrolled.model, tmp_path / "net")
    (before,) = load_models([str(folder)])
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "steps": 2}))
    (after,) = load_models([str(folder)])
    assert before.about["model_sha256"] == after.about["model_sha256"] and before.about != after.about


def test_a_precise_method_solves_further_and_leaves_the_model_alone(case, strict, unrolled):
    exact = rv.solve_reference(strict.model, case.y, case.A, case.noise)
    distances = [
        float((m.reconstruct(case.y, case.A, case.noise)[0] - exact).norm() / exact.norm())
        for m in (strict, strict.precise(1e-5))
    ]
    assert distances[1] < 1e-5 < distances[0]
    assert unrolled.precise(1e-4).model.linear_tol == pytest.approx(1e-5)
    assert strict.precise(1e-6).model.tol == 1e-6
    assert (unrolled.model.linear_tol, strict.model.tol) == (1e-3, 1e-4)
    assert ZERO_FILLED.precise(1e-5) is ZERO_FILLED


def test_an_image_that_is_not_finite_counts_as_a_black_one(case):
    broken = Method("broken", lambda y, A, noise: A.adjoint(y) * float("nan"))
    image, facts = broken.reconstruct(case.y, case.A, case.noise)
    assert not facts["finite"]
    assert bool((image == 0).all())


def test_models_are_frozen_and_have_names_of_their_own(tmp_path, strict, unrolled):
    for folder in ("a/net", "b/net"):
        rv.save(strict.model, tmp_path / folder)
    rv.save(unrolled.model, tmp_path / "unrolled")
    one, other, third = load_models([str(tmp_path / name) for name in ("a/net", "b/net", "unrolled")])
    assert (one.name, other.name) == (str(tmp_path / "a/net"), str(tmp_path / "b/net"))
    assert third.name == "unrolled"
    assert not any(p.requires_grad for p in one.model.parameters())
    with pytest.raises(rv.ResolventError, match="named twice"):
        load_models([str(tmp_path / "unrolled")] * 2)
