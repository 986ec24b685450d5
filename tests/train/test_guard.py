"""The guard: outliers are skipped, a lost run goes back with a smaller rate, a hopeless one ends with a diagnosis."""

import math

import pytest

from resolvent._errors import ModelError
from resolvent.train.guard import BACKOFF, PATIENCE, RETURNS, Guard


def calm(steps=60):
    guard = Guard()
    for step in range(steps):
        assert guard.accepts(1 / (1 + 0.01 * step), 1.0)
        if guard.due:
            guard.keep({"step": step})
    return guard


@pytest.mark.parametrize(("loss", "gradient"), [(math.nan, 1.0), (0.5, math.inf), (20.0, 1.0)])
def test_a_bad_batch_is_skipped_and_leaves_no_trace(loss, gradient):
    guard = calm()
    before = guard.recent
    assert not guard.accepts(loss, gradient)
    assert (guard.recent, guard.skipped, guard.lost) == (before, 1, False)
    assert guard.accepts(0.6, 1.0)


def test_many_bad_batches_in_a_row_send_the_run_back():
    guard = calm()
    for _ in range(PATIENCE):
        assert not guard.lost
        guard.accepts(math.nan, 1.0)
    assert guard.lost
    good = guard.back("step 65")
    assert good == {"step": 50}
    good["step"] = -1
    assert guard.good == {"step": 50}, "what is given out is a copy"
    assert guard.factor == BACKOFF and not guard.lost


def test_a_slow_divergence_is_noticed_and_a_bad_state_is_never_kept():
    guard, loss = calm(), 0.6
    for step in range(400):
        loss *= 1.01
        guard.accepts(loss, 1.0)
        if guard.due:
            guard.keep({"step": 100 + step, "loss": loss})
        if guard.lost:
            break
    assert guard.lost and guard.good.get("loss", 0) < 1.3


def test_a_hopeless_run_ends_with_a_diagnosis():
    guard = calm()
    for _ in range(RETURNS):
        for _ in range(PATIENCE):
            guard.accepts(math.nan, 1.0)
        guard.back("step 9")
    with pytest.raises(ModelError, match=r"training diverged at step 9: .* Lower optimiser.rate"):
        guard.back("step 9")


def test_a_run_that_never_was_good_ends_at_once():
    guard = Guard()
    for _ in range(PATIENCE):
        guard.accepts(math.nan, math.nan)
    with pytest.raises(ModelError, match="diverged"):
        guard.back("step 5")


def test_another_task_with_larger_losses_is_no_divergence():
    guard = calm()
    guard.forget()
    for step in range(60):
        assert guard.accepts(20.0, 1.0) and not guard.lost
        if guard.due:
            guard.keep({"task": 2, "step": step})
    assert guard.good == {"task": 2, "step": 50} and guard.best == pytest.approx(20.0)
