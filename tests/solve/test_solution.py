import pytest
import torch

from problems import random
from resolvent.solve import Solution, Status, inner, norm


def solution(*status):
    n = len(status)
    return Solution(torch.zeros(n, 1), status, torch.arange(n), 1, torch.zeros(1, n))


def test_status_of_a_batch_is_its_worst():
    order = [Status.CONVERGED, Status.INACCURATE, Status.MAX_STEPS, Status.BREAKDOWN, Status.DIVERGED]
    for i, worst in enumerate(order):
        assert solution(*order[: i + 1], order[0]).status is worst
    assert solution(Status.CONVERGED, Status.CONVERGED).converged
    assert not solution(Status.CONVERGED, Status.MAX_STEPS).converged


def test_status_text_is_the_message():
    for status in Status:
        assert str(status) == f"{status}" == status.value
        if status is not Status.CONVERGED:
            assert ";" in status.value  # a fact, and a remedy


def test_steps_are_those_of_the_slowest_sample():
    assert solution(Status.CONVERGED, Status.CONVERGED, Status.CONVERGED).steps == 2


def test_inner_product_is_real_and_conjugates():
    a, b = random(3, 4, 5), random(3, 4, 5, seed=1)
    torch.testing.assert_close(inner(a, b), (a.conj() * b).real.flatten(1).sum(1))
    assert (inner(a, 1j * a).abs() < 1e-12).all()


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1.0, 1e30, 1e37])
def test_norm_neither_overflows_nor_vanishes(scale):
    a = random(2, 50, dtype=torch.complex64)
    torch.testing.assert_close(norm(scale * a) / scale, torch.linalg.vector_norm(a, dim=1), rtol=1e-4, atol=0)


def test_norm_of_zero_and_of_nan():
    assert norm(torch.zeros(1, 4)).item() == 0
    assert norm(torch.full((1, 4), torch.nan)).isnan().all()
    assert not torch.isfinite(norm(torch.full((1, 4), torch.inf))).any()
