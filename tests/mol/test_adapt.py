"""Adapting to one scan: it learns from the samples alone, and takes nothing from what is proved."""

import copy

import pytest
import torch

import resolvent as rv
from resolvent._errors import ModelError
from resolvent.data import birdcage_maps, metrics
from resolvent.mol.adapt import adapt
from resolvent.monotone import CertifiedStack, PlainCNN, ResidualStack


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    score = CertifiedStack(m=0.1, channels=8, layers=2, trunk_layers=1)
    return rv.MOL(score, lam=100.0, normalise=True)


@pytest.fixture(scope="module")
def scan():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 28), indexing="ij")
    image = ((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1).float() * (1 + 0.5 * torch.sign(torch.cos(9 * y) * torch.cos(7 * x)))
    maps = birdcage_maps(4, (32, 28))[None]
    return rv.simulate(image, maps=maps, acceleration=4, snr_db=30, seed=1)


def test_the_image_is_better_though_no_reference_was_seen(model, scan):
    before = {name: t.clone() for name, t in model.state_dict().items()}
    done = adapt(model, scan.kspace, scan.operator(), scan.noise, steps=20, rate=1e-2)
    assert done.better and done.after < 0.97 * done.before
    recons = [m.solve(scan.kspace, scan.operator(), noise=scan.noise) for m in (model, done.model)]
    old, new = (metrics(scan.reference, r.image)["psnr"] for r in recons)
    assert new > old + 0.5
    assert recons[1].certificate.proved and done.model.m == model.m
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert (done.model.tol, done.model.max_steps) == (model.tol, model.max_steps)
    assert recons[1].record()["model"] == {"adapted_from": model.identity}


def test_a_frozen_model_adapts_like_another(model, scan):
    frozen = copy.deepcopy(model).requires_grad_(False)
    with torch.no_grad():
        done = adapt(frozen, scan.kspace, scan.operator(), scan.noise, steps=2)
    assert done.after == adapt(model, scan.kspace, scan.operator(), scan.noise, steps=2).after != done.before


def test_it_is_a_function_of_the_samples_and_the_seed(model, scan):
    A, twice = scan.operator(), torch.cat([scan.kspace, scan.kspace])
    runs = [
        adapt(model, y, A, scan.noise, steps=2, seed=s) for y, s in ((scan.kspace, 0), (scan.kspace, 0), (twice, 1))
    ]
    first, again, other = ([p.detach() for p in run.model.parameters()] for run in runs)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


def test_scaled_data_adapt_alike(model, scan):
    A = scan.operator()
    one = adapt(model, scan.kspace, A, scan.noise, steps=3)
    large = adapt(model, 512 * scan.kspace, A, 512 * scan.noise, steps=3)
    assert large.after == pytest.approx(one.after, rel=1e-4)


def test_what_adapting_could_ruin_is_refused(scan):
    loose = rv.MOL(PlainCNN(m=0.1, channels=4, depth=2), lam=30.0)
    with pytest.raises(ModelError, match="not strictly monotone by construction"):
        adapt(loose, scan.kspace, scan.operator())


def test_steps_must_be_positive(model, scan):
    with pytest.raises(ModelError, match="steps is 0"):
        adapt(model, scan.kspace, scan.operator(), steps=0)


@pytest.mark.parametrize("rate", [0.0, -1e-3, 2.0, 1e300, float("nan")])
def test_the_rate_is_one_at_which_weights_can_be_learned(model, scan, rate):
    with pytest.raises(ModelError, match=r"rate is .*at most 1"):
        adapt(model, scan.kspace, scan.operator(), rate=rate)


def test_what_was_proved_for_all_data_is_proved_of_the_scan(scan, tmp_path):
    torch.manual_seed(0)
    model = rv.MOL(ResidualStack(m=0.3, channels=4, layers=2), lam=10.0)
    done = adapt(model, scan.kspace, scan.operator(), scan.noise, steps=1)
    assert (model.tier, done.model.tier) == ("all-data", "per-scan")
    assert rv.load(rv.save(done.model, tmp_path / "adapted")).tier == "per-scan"
