"""Effective samples along a trajectory: R of a scan does not depend on how densely a readout was sampled."""

import math

import pytest
import torch

from resolvent.data import Scan, Trajectory, radial, spiral


def along(places: torch.Tensor, matrix: tuple[int, ...], mask: torch.Tensor | None = None) -> Scan:
    """A scan of two coils along places ``(*lead, *samples, axis)``."""
    mask = torch.ones(1, *places.shape[:-1]) if mask is None else mask[None]
    return Scan(
        kspace=torch.stack([mask, mask], 1) + 0j,
        mask=mask,
        ndim=len(matrix),
        trajectory=Trajectory(places[None], matrix),
    ).validated()


@pytest.mark.parametrize("oversampling", [1, 2, 3])
def test_spokes_are_compared_with_those_that_nyquist_asks_for(oversampling: int):
    """pi / 2 N of them: neighbours are then one cycle per field of view apart at the border."""
    n = 32
    full = radial(24, (n, n), oversampling=oversampling)
    assert along(full, (n, n)).acceleration == pytest.approx(math.pi / 2 * n / 24)
    half = full[:, full.shape[1] // 2 :]  # from the centre out: pi N
    assert along(half, (n, n)).acceleration == pytest.approx(math.pi * n / 24)
    stars = torch.cat([torch.zeros(3, *full.shape[:-1], 1), full.expand(3, *full.shape)], -1)
    stars[..., 0] += torch.arange(-1, 2)[:, None, None]
    assert along(stars, (3, n, n)).acceleration == pytest.approx(math.pi / 2 * n / 24)
    ball = radial(200, (n, n, n), oversampling=oversampling)
    assert along(ball, (n, n, n)).acceleration == pytest.approx(math.pi / 2 * n**2 / 200)


def test_other_readouts_are_compared_with_a_full_grid():
    n = 32
    for oversampling in (1, 2):
        x = torch.arange(-n / 2, n / 2, 1 / oversampling, dtype=torch.float64)
        grid = torch.stack(torch.meshgrid(torch.arange(-n / 2, n / 2, 4, dtype=torch.float64), x, indexing="ij"), -1)
        assert along(grid, (n, n)).acceleration == pytest.approx(4)
        assert along(grid.flip(-1), (n, n)).acceleration == pytest.approx(4)  # the readout is y
    whole = spiral(4, (n, n))  # its turns are one cycle apart, in a disc
    assert along(whole, (n, n)).acceleration == pytest.approx(4 / math.pi, rel=0.05)
    assert along(whole[:1], (n, n)).acceleration == pytest.approx(4 * 4 / math.pi, rel=0.05)
    assert along(whole[:, ::2], (n, n)).acceleration == pytest.approx(4 / math.pi, rel=0.05)


def test_points_on_their_own_count_as_one():
    points = 16 * torch.rand(64, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 8
    assert along(points, (16, 16)).acceleration == 4
    assert along(torch.zeros(1, 5, 2), (16, 16)).acceleration > 256  # one place, however often


def test_samples_that_were_not_measured_count_nothing():
    n = 32
    places, mask = radial(24, (n, n)), torch.ones(24, 2 * n)
    places[12:], mask[12:] = 0, 0  # filled up
    assert along(places, (n, n), mask).acceleration == pytest.approx(math.pi / 2 * n / 12)
    frames = torch.stack([radial(24, (n, n)), places])
    found = along(frames, (n, n), torch.stack([torch.ones(24, 2 * n), mask]))
    assert found.acceleration == pytest.approx(math.pi / 2 * n / 18)
    torch.testing.assert_close(found.effective_samples, 2 / math.pi * n * torch.tensor([[24.0, 12.0]]).double())
