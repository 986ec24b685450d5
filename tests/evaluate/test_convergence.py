import itertools
from types import SimpleNamespace

import pytest
import torch

import resolvent as rv
from resolvent.evaluate import convergence
from resolvent.evaluate.methods import ZERO_FILLED, Method
from resolvent.monotone import PlainCNN


@pytest.fixture(scope="module")
def steps(strict, case):
    return convergence.follow(strict, case)


def curve(rows, start):
    return [row for row in rows if row["start"] == start]


def test_every_start_leads_to_the_same_solution(steps):
    assert {row["start"] for row in steps} == {"zero", "zero-filled", "sense", "noise", "plain"}
    for start in ("zero", "zero-filled", "sense", "noise", "plain"):
        last = curve(steps, start)[-1]
        assert last["distance"] <= convergence.CLOSE
        assert last["residual"] <= 1e-4
    assert curve(steps, "zero")[0]["distance"] == pytest.approx(1.0)  # |0 - x*| / |x*|
    assert curve(steps, "zero")[0]["residual"] == pytest.approx(1.0, rel=0.2)  # F(0) is small here, not zero


def test_the_plain_iteration_comes_nearer_with_every_step(steps, strict):
    distances = [row["distance"] for row in curve(steps, "plain")]
    far = [d for d in distances if d > 1e-5]
    q = 1 - strict.model.m.value
    assert len(far) > 3
    assert all(b <= a * (q + 0.2) for a, b in itertools.pairwise(far))


def test_steps_are_counted_and_time_goes_on(steps):
    for start in ("zero", "plain"):
        rows = curve(steps, start)
        assert [row["step"] for row in rows] == list(range(len(rows)))
        times = [row["elapsed"] for row in rows]
        assert times == sorted(times) and times[0] > 0
    assert len(curve(steps, "sense")) <= len(curve(steps, "plain"))


def test_the_image_from_every_start_lies_within_its_certificate(strict, case):
    rows = convergence.starts(strict, case)
    exact = rv.solve_reference(strict.model, case.y, case.A, case.noise)
    recon = strict.model.solve(case.y, case.A, noise=case.noise, start=torch.zeros_like(exact).to(torch.complex64))
    true = float((recon.image - exact).norm() / exact.norm())
    assert rows[0]["start"] == "zero"
    assert rows[0]["distance"] == pytest.approx(true, rel=1e-2)
    assert all(row["within"] and row["proved"] and row["converged"] for row in rows)
    usual = strict.model.solve(case.y, case.A, noise=case.noise).solution.evaluations
    by_start = {row["start"]: row["evaluations"] for row in rows}
    assert by_start["sense"] == usual <= by_start["noise"]  # it starts there, in the units of the scan


def test_within_is_relative_to_the_image_as_the_certificate_is(strict, case, monkeypatch):
    half = convergence.pose(strict.model, case).solution / 2  # |x - x*| is half of |x*|, and all of |x|
    solution = SimpleNamespace(x=half, converged=False, evaluations=1)
    for bound, within in ((0.9, False), (1.1, True)):
        recon = SimpleNamespace(solution=solution, certificate=SimpleNamespace(distance=bound, proved=True))
        monkeypatch.setattr(rv.MOL, "solve", lambda *_, recon=recon, **__: recon)
        row = convergence.starts(strict, case)[0]
        assert (row["distance"], row["within"]) == (pytest.approx(0.5), within)


def test_more_iterations_change_an_unrolled_network_and_not_a_solution(strict, unrolled, case):
    network = convergence.prolong(unrolled, case)
    solution = convergence.prolong(strict, case)
    assert [row["iterations"] for row in network] == [3, 6, 9, 12]
    assert [row["multiple"] for row in solution] == [1, 2, 3, 4]
    assert network[0]["change"] == solution[0]["change"] == 0
    assert max(row["change"] for row in solution) <= 1e-3 < min(row["change"] for row in network[1:])
    assert unrolled.model.steps == 3


def test_methods_without_an_equation_are_left_out(unrolled, case):
    assert convergence.follow(unrolled, case) == convergence.starts(unrolled, case) == []
    assert convergence.prolong(ZERO_FILLED, case) == []


def test_without_a_reference_there_is_no_distance(case, monkeypatch):
    torch.manual_seed(0)
    model = rv.MOL(PlainCNN(m=0.1, channels=4, depth=2), lam=20.0).eval()
    for weight in model.score.weights:
        weight.data.mul_(8.0)  # H expands
    wild = Method("wild", model, model=model)
    monkeypatch.setattr(convergence, "REFERENCE_STEPS", 10)
    monkeypatch.setattr(convergence, "MAX_STEPS", 5)
    rows = [*convergence.starts(wild, case)[:1], *convergence.follow(wild, case)[:2]]
    assert [row["distance"] for row in rows] == [None] * 3
    assert rows[0]["within"] is None
    assert not rows[0]["proved"]
