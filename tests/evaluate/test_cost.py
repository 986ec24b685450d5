import copy

import pytest
import torch

from resolvent.evaluate import cost
from resolvent.evaluate.methods import ZERO_FILLED, Method


@pytest.fixture(autouse=True)
def once(monkeypatch):
    """One timed run instead of three."""
    monkeypatch.setattr(cost, "REPEATS", 1)


def test_the_memory_of_an_unrolled_network_grows_with_its_steps(unrolled, case):
    longer = copy.deepcopy(unrolled.model)
    longer.steps = 9
    short, long = (cost.training_step(model, case)["saved_bytes"] for model in (unrolled.model, longer))
    assert 2 * short < long <= 3.1 * short


def test_the_memory_of_a_solution_does_not_grow_with_its_accuracy(strict, case):
    finer = copy.deepcopy(strict.model)
    rougher = copy.deepcopy(strict.model)
    finer.tol, rougher.tol = 1e-5, 1e-2
    rough, fine = (cost.training_step(model, case) for model in (rougher, finer))
    assert fine["evaluations"] > rough["evaluations"] > 0
    assert rough["adjoint_evaluations"] > 0
    assert fine["saved_bytes"] == rough["saved_bytes"]


def test_a_training_step_leaves_the_model_as_it_is(unrolled, case):
    before = [p.clone() for p in unrolled.model.parameters()]
    cost.training_step(unrolled.model, case)
    assert all(bool((p == q).all()) for p, q in zip(unrolled.model.parameters(), before, strict=True))
    assert all(p.grad is None and not p.requires_grad for p in unrolled.model.parameters())


def test_costs_are_related_to_the_longest_unrolled_network(strict, unrolled, case):
    longer = copy.deepcopy(unrolled.model)
    longer.steps = 6
    methods = [ZERO_FILLED, strict, unrolled, Method("longer", longer, model=longer)]
    rows = [row | method.about for method in methods for row in cost.measure(method, case)]
    zero, equation, short, long = cost.summarise(rows)
    assert "saved_bytes" not in zero and zero["recon_seconds"] > 0
    assert long["saved_bytes_ratio"] == long["step_seconds_ratio"] == 1
    assert short["saved_bytes_ratio"] == pytest.approx(short["saved_bytes"] / long["saved_bytes"], rel=1e-4)
    assert equation["parameters"] == sum(p.numel() for p in strict.model.parameters())
    built = torch.nn.Identity()
    assert cost.iterations(built) is None
    built.config = {"steps": 4}  # a network with weights of its own in every step
    assert (cost.iterations(built), cost.iterations(longer)) == (4, 6)
    assert cost.summarise(rows[:2])[1].get("saved_bytes_ratio") is None
