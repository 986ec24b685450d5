import runpy
from pathlib import Path

import torch

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "counterexample.py"


def test_a_network_that_keeps_its_constraint_where_it_was_trained_breaks_it_elsewhere(capsys):
    threads = torch.get_num_threads()
    try:
        found = runpy.run_path(str(SCRIPT))
    finally:
        torch.set_num_threads(threads)
    m, u, v, F, worst = (found[name] for name in ("m", "u", "v", "F", "worst"))
    assert found["trained"] < 0.9 * (1 - m)
    assert found["slope"] > 2 * m
    with torch.no_grad():
        d, change = u[worst] - v[worst], (F(u) - F(v))[worst]
    assert d.dtype == torch.complex128
    assert (d.conj() * change).real.sum() < -0.1 * d.abs().square().sum()  # not a question of rounding
    assert (d - change).abs().square().sum() > d.abs().square().sum()
    printed = capsys.readouterr().out
    assert "not even positive" in printed
    assert f"{found['trained']:.3f} in every search" in printed
