import pytest
import torch

import resolvent as rv
from resolvent.data import psnr
from resolvent.evaluate import robustness
from resolvent.evaluate.methods import ZERO_FILLED, Method, regularised
from resolvent.evaluate.robustness import Search
from resolvent.mol.targets import attack_model
from resolvent.monotone import PlainCNN

SHORT = Search(steps=3, starts=1, methods=("pgd",), draws=1)


@pytest.fixture(scope="module")
def sense():
    return regularised("sense").at(5.0)


def test_the_worst_case_of_a_linear_method_is_its_largest_singular_value(sense, small_case):
    case = small_case
    R = sense.hold(case.y, case.A, case.level)
    pixels = torch.eye(case.reference.numel(), dtype=torch.complex64).reshape(-1, 1, *case.reference.shape[1:])
    data = torch.cat([case.A(x) for x in pixels])  # they span what R sees: it is zero across the range of A
    images = R(data, case.A, case.level).flatten(1)
    u, s, _ = torch.linalg.svd(data.flatten(1), full_matrices=False)
    kept = s > 1e-3
    exact = float(torch.linalg.matrix_norm((u.mH @ images)[kept] / s[kept, None], 2))  # of orthonormal data
    (row,) = robustness.worst(sense, case, 0.02, SHORT)
    assert row["gain"] == pytest.approx(exact, rel=1e-3)
    assert row["exact"] and row["gain_bound"] == row["gain"] > row["gain_gaussian"]
    assert row["psnr"] < row["psnr_clean"]
    half = robustness.worst(sense, case, 0.01, SHORT)[0]
    assert half["gain"] == row["gain"]
    assert half["change"] == pytest.approx(row["change"] / 2)


def test_white_noise_has_the_norm_it_says(case):
    seen = []

    def call(y, A, noise):
        seen.append((y, noise))
        return A.adjoint(y)

    (row,) = robustness.gaussian(Method("probe", call), case, 0.02, draws=2)
    (clean, told), *noisy = seen
    for y, noise in noisy:
        assert ((y - clean).norm() / clean.norm()).item() == pytest.approx(0.02, rel=1e-4)
        assert bool(((y != 0) == (clean != 0)).all())  # on the measured samples
        assert noise == told == case.noise
    scores = [psnr(case.reference, case.A.adjoint(y)) for y, _ in noisy]
    assert row["psnr"] == pytest.approx(sum(scores) / 2)
    assert 0 < row["gain"] < 1
    assert row["converged"]


def test_a_method_whose_images_are_not_finite_has_no_gain(case):
    def broken(y, A, noise):
        return float("nan") * A.adjoint(y)

    def broken_by_noise(y, A, noise):
        return (1.0 if torch.equal(y, case.y) else float("nan")) * A.adjoint(y)

    for call in (broken, broken_by_noise):
        rows = robustness.gaussian(Method("broken", call), case, 0.02, draws=2)
        assert rows == [{"gain": None, "failed": "an image is not finite"}]


def test_images_that_are_compared_are_finer_than_the_perturbation(strict, case, monkeypatch):
    distances = []
    reconstruct = Method.reconstruct

    def spy(method, *arguments):
        image, facts = reconstruct(method, *arguments)
        distances.append(facts["distance"])
        return image, facts

    monkeypatch.setattr(Method, "reconstruct", spy)
    robustness.gaussian(strict, case, 0.0025, draws=1)
    assert len(distances) == 2
    assert max(distances) <= 0.02 * 0.0025


def test_a_proved_bound_is_not_exceeded_and_the_search_beats_white_noise(strict, small_case):
    case = small_case
    (row,) = robustness.worst(strict, case, 0.02, SHORT)
    found = attack_model(strict.model, case.y, case.A, 0.02, noise=case.noise, **SHORT.options)
    assert row["gain"] == pytest.approx(float(found.gain_worst))
    assert row["psnr"] == pytest.approx(psnr(case.reference, found.image))
    assert row["gain_bound_kind"] == "proved"
    assert row["gain_gaussian"] < row["gain"] <= row["gain_bound"] * (1 + row["error"])


def test_a_network_is_attacked_by_its_gradient(unrolled, small_case):
    case = small_case
    (row,) = robustness.worst(unrolled, case, 0.02, SHORT)
    assert row["gain"] > 1.2 * row["gain_gaussian"]
    assert row["gain_bound"] is None
    assert not row["exact"]


def test_a_search_that_is_not_possible_is_a_row_that_says_why(small_case):
    case = small_case
    blind = Method("blind", lambda y, A, noise: A.adjoint(y).detach())
    assert robustness.worst(blind, case, 0.02, SHORT) == [{"gain": None, "failed": "the method has no gradient"}]
    torch.manual_seed(0)
    model = rv.MOL(PlainCNN(m=0.1, channels=4, depth=2), lam=20.0).eval()
    model.max_steps = 10
    for weight in model.score.weights:
        weight.data.mul_(8.0)
    (row,) = robustness.local(Method("wild", model, model=model), case, 0.02, SHORT, 5)
    assert "no solution to attack" in row["failed"]


def test_the_local_search_looks_at_a_window(unrolled, small_case):
    case = small_case
    (row,) = robustness.local(unrolled, case, 0.02, SHORT, side=5)
    assert 0 < row["largest_error"] < 1
    assert row["gain"] < robustness.worst(unrolled, case, 0.02, SHORT)[0]["gain"]


def test_the_search_is_measured_by_a_linear_method(sense, small_case):
    (row,) = robustness.honesty(sense, small_case, 0.1, Search(steps=20, starts=1, methods=("pgd",), draws=1))
    assert 0.9 < row["ratio"] <= 1.001
    assert robustness.honesty(ZERO_FILLED, small_case, 0.02, SHORT) == []


def test_empty_data_give_no_image(strict, case):
    zeros, noise = robustness.empty(strict, case)
    assert zeros == {"what": "zeros", "refused": True}
    assert not noise["refused"]
    assert noise["size"] < 0.2  # at 30 dB
    assert abs(noise["correlation"]) < 0.9
    zeros, noise = robustness.empty(ZERO_FILLED, case)
    assert (zeros["size"], zeros["gain"], zeros["correlation"]) == (0, None, 0)
    assert 0 < noise["gain"] <= 1.001


def row(method, epsilon, gain, **more):
    scan = {"data": "a.h5", "data_sha256": "a", "mask": "gaussian2d", "acceleration": 4.0, "psnr": 30.0}
    return {**scan, "method": method, "epsilon": epsilon, "gain": gain, **more}


def test_levels_are_summarised_over_scans():
    bound = {"gain_bound": 5.0, "gain_bound_kind": "proved"}
    rows = [row("a", 0.01, 4.0, **bound), row("a", 0.01, 6.0, **bound | {"data": "b.h5"}), row("a", 0.02, 4.9, **bound)]
    rows.append({**row("b", 0.01, None), "failed": "the method has no gradient"})
    first, second, third = robustness.summarise(rows)
    assert (first["gain"], first["gain_max"], first["scans"], first["below_bound"]) == (5, 6, 2, False)
    assert first["data"] == "a.h5, b.h5"
    assert second["below_bound"] is True
    assert (third["gain"], third["failed"], third["scans"]) == (None, 1, 0)


def test_a_fall_of_more_than_the_slack_with_more_samples_is_seen():
    def at(R, psnr):
        return {**row("a", None, None), "acceleration": R, "psnr": psnr}

    assert [r["rises"] for r in robustness.by_acceleration([at(2, 31.9), at(4, 32.0)])] == [True, True]
    falls = robustness.by_acceleration([at(4, 32.0), at(2, 31.7)])
    assert [(r["acceleration"], r["rises"]) for r in falls] == [(2, False), (4, False)]


def test_the_weight_at_each_acceleration_is_said():
    rows = [{**row("tv", None, None), "acceleration": R, "weight": w} for R, w in ((2.0, 0.001), (4.0, 0.003))]
    assert [r["weight"] for r in robustness.by_acceleration(rows)] == [0.001, 0.003]
