import json
import math

import numpy as np
import pytest
import torch

import resolvent as rv
from resolvent.cli import evidence
from resolvent.cli.evidence import ASCENT, SIZES, STARTS
from resolvent.cli.inputs import MODEL
from resolvent.linop import SENSE
from resolvent.mol.monotonicity import local_monotonicity
from resolvent.monotone import ConditionedStack, PlainCNN, ProductNetwork, ResidualStack, conv_norm_bound
from resolvent.monotone.layers import UnitKernel

KEYS = {"version", "model", "sha256", "proved", "m", "c", "r", "lipschitz", "kind", "tier", "method", "derivation"}


@pytest.fixture
def saved(tmp_path):
    """Save a score as a model; its folder."""

    def write(score, **options):
        return rv.save(rv.MOL(score, lam=100.0, **options), tmp_path / "model")

    return write


@pytest.fixture
def wild(saved):
    """An approximate model far from contracting, whose solves do not converge."""
    torch.manual_seed(0)
    score = PlainCNN(m=0.1, channels=4, depth=2)
    with torch.no_grad():
        for weight in score.weights:
            weight.mul_(10)
    return saved(score)


def test_constants_of_a_strict_model_are_proved_and_derived(resolvent, model):
    run = resolvent("certify", model, "--json")
    found = run.json
    assert run.code == 0
    assert KEYS <= set(found)
    assert (found["model"], found["proved"], found["kind"], found["tier"]) == ("tiny", True, "proved", "per-scan")
    assert found["m"] == pytest.approx(0.1)
    assert found["c"] == 1
    assert found["r"] == pytest.approx(0.9)
    assert found["lipschitz"] == pytest.approx(1.9)
    assert "construction" in found["method"]
    assert "estimates" not in found
    assert "local" not in found


def test_derivation_holds_the_norm_of_every_layer(resolvent, model):
    network = rv.load(model)
    kernels = {name: layer for name, layer in network.score.named_modules() if isinstance(layer, UnitKernel)}
    found = resolvent("certify", model, "--json").json["derivation"]
    assert found["factor"] == pytest.approx(0.9)
    assert [row["layer"] for row in found["layers"]] == list(kernels)
    assert len(kernels) == 2
    for row in found["layers"]:
        layer = kernels[row["layer"]]
        assert row["shape"] == list(layer.weight.shape)
        assert row["weight"] == pytest.approx(conv_norm_bound(layer.weight.detach().double(), layer.grid).item())
        symbol = torch.fft.fft2(layer().detach().double(), s=(40, 40)).permute(2, 3, 0, 1)
        largest = torch.linalg.svdvals(symbol).max().item()
        assert largest <= row["kernel"] <= 1
        assert row["kernel"] > 0.95 * largest


def test_a_grid_that_does_not_show_the_norm_is_followed_by_the_one_of_the_construction(model, monkeypatch):
    score = rv.load(model).score
    kernels = [layer() for layer in score.modules() if isinstance(layer, UnitKernel)]
    monkeypatch.setattr(evidence, "GRID", 4)
    for row, kernel in zip(evidence.derivation(rv.load(model))["layers"], kernels, strict=True):
        assert conv_norm_bound(kernel.double(), 4) > 1
        assert 0.99 < row["kernel"] <= 1


@pytest.mark.parametrize(
    ("score", "tier", "words"),
    [
        (ProductNetwork(channels=4, depth=2), "all-data", "for all data: one solution"),
        (ResidualStack(channels=4, layers=2, ndim=3), "all-data", "for all data: one solution"),
        (ConditionedStack(channels=4, layers=1, width=4, passes=1), "per-scan", "for each scan: one solution"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else "",
)
def test_tier_is_said_in_words(resolvent, saved, score, tier, words):
    folder = saved(score)
    assert resolvent("certify", folder, "--json").json["tier"] == tier
    assert words in resolvent("certify", folder).out


def test_ridge_counts_in_the_constants(resolvent, saved):
    found = resolvent("certify", saved(ProductNetwork(m=0.2, channels=4, depth=2), ridge=0.1), "--json").json
    assert found["m"] == pytest.approx(0.3)
    assert found["c"] == pytest.approx(1.1)
    assert found["r"] == pytest.approx(0.8)
    assert found["lipschitz"] == pytest.approx(1.9)
    assert "F = 1.1 I - H" in found["derivation"]["text"]


def test_table_of_a_strict_model(resolvent, model):
    text = resolvent("certify", model).out
    assert "m          0.1 (proved)" in text
    assert "lipschitz  1.9 (proved)" in text
    assert "convs.0" in text
    assert "8 x 8 x 3 x 3" in text
    assert "H = 0.9 N" in text
    assert "estimated" not in text


@pytest.mark.parametrize("option", [("--maps", "maps.h5"), ("--dataset", "data")])
def test_options_of_a_scan_without_a_scan_are_refused(resolvent, model, option):
    run = resolvent("certify", model, *option)
    assert run.code == 2 and "apply to a scan" in run.err


def test_layers_that_are_not_what_they_should_be_are_noticed(resolvent, model, monkeypatch):
    monkeypatch.setattr(UnitKernel, "_divide", lambda self: self.weight)
    run = resolvent("certify", model)
    assert run.code == 1
    assert "layer convs.0 has a convolution of norm up to" in run.error
    assert "so the constants of the model are not proved" in run.error


@pytest.mark.parametrize(("claim", "value"), [("m", 0.5), ("tier", "all-data"), ("kind", "estimated")])
def test_forged_claims_are_refused(resolvent, model, tmp_path, claim, value):
    folder = rv.save(rv.load(model), tmp_path / "forged")
    card = json.loads((folder / "model.json").read_text())
    card["claims"][claim] = value
    (folder / "model.json").write_text(json.dumps(card))
    run = resolvent("certify", folder)
    assert run.code == 1
    assert "but the weights give" in run.error


def test_packaged_model_is_proved(resolvent):
    found = resolvent("certify", MODEL, "--json").json
    assert found["model"] == MODEL
    assert found["proved"] is True
    assert found["m"] > 0
    assert all(row["kernel"] <= 1 for row in found["derivation"]["layers"])


def test_approximate_model_says_estimated_and_what_was_searched(resolvent, estimated):
    run = resolvent("certify", estimated, "--json")
    found = run.json
    assert run.code == 0
    assert KEYS <= set(found)
    assert (found["proved"], found["kind"], found["tier"]) == (False, "estimated", "estimated")
    assert found["derivation"] is None
    assert f"{STARTS} starts of {ASCENT} steps" in found["method"]
    assert "no bound anywhere else" in found["method"]
    assert [row["at"] for row in found["estimates"]] == [f"noise of size {size:g}" for size in SIZES]
    for row in found["estimates"]:
        assert 0 < row["lipschitz"] < row["limit"]
        assert row["limit"] == pytest.approx(0.9)
        assert row["exceeded"] is False
    text = resolvent("certify", estimated).out
    assert "proved" not in text.replace("nothing is proved", "")
    assert "m          0.1 (estimated)" in text
    assert "does not exceed" in text


def test_search_tells_where_the_constant_is_exceeded(resolvent, wild):
    found = resolvent("certify", wild, "--json").json
    assert found["proved"] is False
    assert all(row["exceeded"] and row["lipschitz"] > 0.9 for row in found["estimates"])
    assert "EXCEEDS r = 0.9" in resolvent("certify", wild).out


def test_network_that_overflows_is_no_evidence(resolvent, saved):
    score = PlainCNN(channels=4, depth=4)
    with torch.no_grad():
        for weight in score.weights:
            weight.mul_(1e15)
    run = resolvent("certify", saved(score), "--json")
    assert run.code == 0
    assert [row["lipschitz"] for row in run.json["estimates"]] == [None] * 3
    assert all(row["exceeded"] for row in run.json["estimates"])


def test_volumes_are_searched_with_volumes(resolvent, saved):
    found = resolvent("certify", saved(PlainCNN(channels=2, depth=2, ndim=3)), "--json").json
    assert len(found["estimates"]) == 3


def test_scan_adds_the_local_slope_and_the_certificate(resolvent, model, scan, store):
    path = store(scan)
    run = resolvent("certify", model, path, "--json", "--steps", 5)
    found = run.json
    assert run.code == 0
    assert found["input"] == str(path)
    assert found["solve"]["converged"] is True
    certificate = resolvent("recon", path, "--model", model, "--json").json["results"][0]["certificate"]
    assert {name: found["certificate"][name] for name in certificate} == certificate
    assert certificate["proved"] is True
    for name in ("J_F", "J_G"):
        row = found["local"][name]
        assert row["smallest"] >= 0.1 - 1e-9  # what is proved of every point
        assert 0 < row["residual"] < 10
        assert row["steps"] == 5
        assert row["slice"] == 0
    assert "estimates" not in found["local"]


def test_local_slope_is_that_of_the_equation_posed_and_solved(resolvent, estimated, scan, store):
    path = store(scan)
    found = resolvent("certify", estimated, path, "--json", "--steps", 20).json["local"]
    network, one = rv.load(estimated), rv.read(path).normalised()
    A = SENSE(one.maps, one.mask)
    with torch.no_grad():
        equation = network.pose(one.kspace, A, one.noise)[0].to_double()
    x = network.solve(one.kspace, A, noise=one.noise).solution.x.to(torch.complex128)
    for name, operator in (("J_F", equation.score), ("J_G", equation.residual)):
        better = local_monotonicity(operator, x, steps=60, tol=1e-6).value.item()
        assert 0 <= found[name]["smallest"] - better + 1e-6 <= found[name]["residual"] + 2e-6


def test_scan_table(resolvent, model, scan, store):
    text = resolvent("certify", model, store(scan), "--steps", 3).out
    assert "converged in" in text
    assert "(proved)" in text
    assert "smallest slope of F, the score: " in text
    assert "smallest slope of G, the equation: " in text
    assert "3 Lanczos steps" in text


def test_a_certificate_of_an_image_that_does_not_explain_the_samples_comes_with_a_warning(
    resolvent, model, scan, store
):
    wrong = store(scan.replace(coil_maps=scan.maps.flip(-1), reference=None))
    run = resolvent("certify", model, wrong, "--steps", 1, "--json")
    assert run.json["certificate"]["proved"] and run.json["fit"]["doubtful"]
    assert "scan.h5: |A x - b| = " in run.err and "coil maps, mask or trajectory may not be those" in run.err


def test_more_steps_are_sharper(resolvent, estimated, scan, store):
    path = store(scan)
    few, many = (
        resolvent("certify", estimated, path, "--json", "--steps", n).json["local"]["J_G"]["smallest"] for n in (3, 20)
    )
    assert many < few


def test_every_slice_is_looked_at_and_the_worst_is_reported(resolvent, estimated, scan, store):
    two = scan.replace(
        kspace=torch.cat([scan.kspace, 2 * scan.kspace]),
        coil_maps=torch.cat([scan.coil_maps, scan.coil_maps.flip(-1)]),
        mask=scan.mask.expand(2, -1, -1),
        reference=None,
    )
    found = resolvent("certify", estimated, store(two), "--json", "--steps", 8).json
    assert found["local"]["J_F"]["slice"] in (0, 1)
    assert [row["at"] for row in found["local"]["estimates"]] == ["solution of slice 0", "solution of slice 1"]


def test_scan_of_an_approximate_model(resolvent, estimated, scan, store):
    run = resolvent("certify", estimated, store(scan), "--json", "--steps", 10)
    found = run.json
    assert run.code == 0
    assert found["certificate"]["proved"] is False
    (row,) = found["local"]["estimates"]
    assert row["at"] == "solution of slice 0"
    assert 0 < row["lipschitz"] < 0.9
    text = resolvent("certify", estimated, store(scan), "--steps", 10).out
    assert "|H|_Lip at solution of slice 0" in text


def test_solve_that_does_not_converge_is_said_with_exit_code_3(resolvent, wild, scan, store):
    run = resolvent("certify", wild, store(scan), "--json", "--steps", 10)
    assert run.code == 3
    assert "not converged" in run.err or "stopped" in run.err
    found = run.json
    assert found["solve"]["converged"] is False
    assert found["proved"] is False
    assert found["local"]["J_F"]["smallest"] is None or found["local"]["J_F"]["smallest"] < 0


def test_maps_are_estimated_where_the_scan_has_none(resolvent, estimated, full, store):
    run = resolvent("certify", estimated, store(full.replace(coil_maps=None)), "--json", "--steps", 2)
    assert run.code == 0
    assert math.isfinite(run.json["local"]["J_G"]["smallest"])


def test_maps_of_a_file_are_taken_instead(resolvent, estimated, scan, store, tmp_path):
    other = scan.maps.roll(5, -1)
    np.save(tmp_path / "maps.npy", other.numpy())
    given = resolvent("certify", estimated, store(scan), "--maps", tmp_path / "maps.npy", "--json", "--steps", 2).json
    stored, own = (
        resolvent("certify", estimated, store(one, "other.h5"), "--json", "--steps", 2).json
        for one in (scan.replace(coil_maps=other), scan)
    )
    assert given["local"] == stored["local"] != own["local"]


@pytest.mark.parametrize(
    ("arguments", "message"), [(("nothing",), "there is no model 'nothing'"), (("{model}", "no.h5"), "no.h5")]
)
def test_what_is_not_there_is_one_line(resolvent, model, arguments, message):
    run = resolvent("certify", *(a.format(model=model) for a in arguments))
    assert run.code == 1
    assert message in run.error


def test_errors_are_json_too(resolvent, model):
    run = resolvent("certify", model, "no.h5", "--json")
    assert run.code == 1
    assert "no.h5" in run.json["error"]
