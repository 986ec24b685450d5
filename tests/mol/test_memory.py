"""The memory of a solve: estimated before it starts, kept below a limit, refused where that cannot be."""

import subprocess
import sys

import pytest
import torch

import resolvent as rv
from problems import random, unit_maps
from resolvent._errors import MemoryLimitError
from resolvent.linop import Sampling
from resolvent.mol import plan, solve_peak
from resolvent.monotone import CertifiedStack, footprint
from resolvent.monotone.footprint import Held

MEASURE = """
import sys, torch
import resolvent as rv
from resolvent.mol import plan, solve_peak
from resolvent.mol.memory import resident, return_memory
from resolvent import monotone
if not return_memory():
    print("nan")
    raise SystemExit
torch.set_num_threads(1)
torch.manual_seed(0)
kind, spatial, share = sys.argv[1], [int(n) for n in sys.argv[2].split("x")], float(sys.argv[3])
score = getattr(monotone, kind)(channels=32, layers=1, trunk_layers=1, ndim=len(spatial))
model = rv.MOL(score, lam=200.0, normalise=True)
y, maps = (torch.randn(1, 4, *spatial, dtype=torch.complex64) for _ in range(2))
mask = torch.ones(1, *spatial).bernoulli_(0.3).index_fill_(-1, torch.tensor([spatial[-1] // 2]), 1)
A = rv.SENSE(maps / 4, mask, ndim=2 if kind == "CertifiedSeries" else len(spatial))
limit = int(share * solve_peak(model, y, A))
expected = plan(model, y, A, limit)
before = resident()
model.solve(y, A, max_steps=1, max_memory=limit)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))  # ru_maxrss would count the parent's memory
print(expected.peak / (int(status["VmHWM"].split()[0]) * 1024 - before), expected.tile)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and the heap are those of Linux")
@pytest.mark.parametrize(
    ("kind", "matrix", "share"),
    [
        ("CertifiedStack", "320x320", 0.7),
        ("CertifiedStack", "20x64x64", 1.0),
        ("CertifiedPlanes", "2x192x192", 1.0),
        ("CertifiedSeries", "3x160x160", 1.0),
    ],
)
def test_estimate_is_within_a_quarter_of_the_measured_peak(kind, matrix, share):
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, kind, matrix, str(share)], capture_output=True, text=True, check=True
    )
    ratio, tile = run.stdout.split(maxsplit=1)
    assert 0.75 <= float(ratio) <= 1.25
    assert (tile.strip() == "None") == (share == 1.0)


def problem(*spatial: int):
    torch.manual_seed(0)
    score = CertifiedStack(channels=16, layers=1, trunk_layers=1, ndim=len(spatial))
    maps = unit_maps(1, 3, *spatial).to(torch.complex64)
    A = rv.SENSE(maps, torch.ones(1, *spatial), ndim=len(spatial))
    return rv.MOL(score, lam=20.0, normalise=True), random(1, 3, *spatial, dtype=torch.complex64), A


@pytest.mark.parametrize("spatial", [(96, 90), (20, 24, 22)])
def test_image_under_a_limit_is_the_same(spatial):
    model, y, A = problem(*spatial)
    whole = solve_peak(model, y, A)
    assert plan(model, y, A, whole - 1).tile is not None
    free, limited = model.solve(y, A), model.solve(y, A, max_memory=whole - 1)
    assert torch.allclose(free.image, limited.image, atol=1e-5)
    assert limited.certificate.proved


def test_no_tile_is_taken_where_everything_fits():
    model, y, A = problem(96, 90)
    assert plan(model, y, A, solve_peak(model, y, A)).tile is None


def test_what_does_not_fit_is_refused_and_the_message_says_what_would():
    model, y, A = problem(96, 90)
    with pytest.raises(MemoryLimitError, match=r"in the smallest tiles .* Raise it to"):
        model.solve(y, A, max_memory=2**20)


def test_a_network_whose_reach_is_not_known_is_not_cut(monkeypatch):
    model, y, A = problem(96, 90)
    monkeypatch.setattr(CertifiedStack, "radius", None)
    with pytest.raises(MemoryLimitError, match=r"The solve needs \S+ GiB beside the scan \(\S+ GiB in one piece\)"):
        plan(model, y, A, solve_peak(model, y, A) - 1)


def test_a_limit_for_other_physics_than_cartesian_is_refused():
    model, _, _ = problem(16, 16)
    with pytest.raises(MemoryLimitError, match="Cartesian scans only, not for Sampling"):
        plan(model, random(1, 1, 16, 16, dtype=torch.complex64), Sampling(torch.ones(1, 16, 16)), 2**30)


def test_memory_of_a_training_step_is_flat_in_the_number_of_steps():
    model, y, A = problem(24, 20)

    def peak(steps: int, *, unrolled: bool = False) -> int:
        with Held() as held:
            equation, _, context = model.pose(y, A)
            held.peak = held.now  # without the bounds of the weights, which are larger than so small an image
            if unrolled:
                x = context.sense
                for _ in range(steps):
                    x = x - equation.residual(x) / equation.c
            else:
                x = equation.solve(context.sense, tol=1e-12, max_steps=steps).x
                x = equation.attach(x, tol=1e-12, max_steps=steps)
            x.abs().square().mean().backward()
        model.zero_grad()
        return held.peak

    assert peak(20) <= 1.02 * peak(8)  # at 8 Anderson's history is full
    assert peak(20, unrolled=True) > 1.5 * peak(8, unrolled=True)  # what is measured would show kept iterations


def test_network_is_counted_once_and_each_for_itself():
    narrow, wide = (CertifiedStack(channels=channels, layers=1, trunk_layers=1) for channels in (4, 8))
    assert footprint(narrow) is footprint(narrow)
    assert footprint(wide).work > 1.5 * footprint(narrow).work
