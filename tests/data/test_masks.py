"""Sampling masks: how many samples, where, and that nothing but the arguments decides."""

import numpy as np
import pytest
import torch

from resolvent._errors import DataError
from resolvent.data.masks import MASK_KINDS, make_mask

TWO_D = ("gaussian2d", "poisson2d", "radial")
ONE_D = ("uniform1d", "random1d", "gaussian1d")


@pytest.mark.parametrize("kind", MASK_KINDS)
@pytest.mark.parametrize("acceleration", [1, 1.5, 2, 4, 6, 8])
@pytest.mark.parametrize("shape", [(96, 96), (65, 128), (217, 182)])
def test_acceleration_is_reached_within_five_percent(kind, acceleration, shape):
    mask = make_mask(kind, shape, acceleration, seed=3)
    assert mask.shape == (1, *shape)
    assert mask.dtype == torch.float32
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert mask.numel() / mask.sum().item() == pytest.approx(acceleration, rel=0.05)


@pytest.mark.parametrize("kind", MASK_KINDS)
@pytest.mark.parametrize("acceleration", [3, 7])
def test_acceleration_is_reached_over_all_frames(kind, acceleration):
    mask = make_mask(kind, (60, 72), acceleration, frames=10)
    assert mask.shape == (1, 10, 60, 72)
    assert mask.numel() / mask.sum().item() == pytest.approx(acceleration, rel=0.05)


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_the_seed_alone_decides(kind):
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = make_mask(kind, (64, 64), 4, seed=5)
    torch.manual_seed(99)
    assert torch.equal(first, make_mask(kind, (64, 64), 4, seed=5))
    assert not torch.equal(first, make_mask(kind, (64, 64), 4, seed=6))
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("kind", ONE_D)
def test_lines_run_along_y(kind):
    mask = make_mask(kind, (40, 64), 4, seed=2)[0]
    assert torch.equal(mask, mask[:1].expand(40, 64))
    assert 0 < mask[0].sum() < 64


@pytest.mark.parametrize("kind", MASK_KINDS)
@pytest.mark.parametrize("frames", [None, 4])
def test_centre_is_complete_and_around_dc(kind, frames):
    mask = make_mask(kind, (61, 64), 6, center=6, frames=frames)
    x = slice(64 // 2 - 3, 64 // 2 + 3)
    y = slice(None) if kind in ONE_D else slice(61 // 2 - 3, 61 // 2 + 3)
    assert (mask[..., y, x] == 1).all()


@pytest.mark.parametrize("kind", ONE_D)
def test_default_centre_is_that_of_fastmri(kind):
    for acceleration, fraction in ((4, 0.08), (8, 0.04)):
        line = make_mask(kind, (8, 320), acceleration, seed=1)[0, 0]
        half = round(320 * fraction) // 2
        assert (line[160 - half : 160 + half] == 1).all()


def test_uniform_lines_are_equispaced_with_an_offset_of_their_own():
    starts = set()
    for seed in range(12):
        line = make_mask("uniform1d", (4, 320), 5, seed=seed, center=0)[0, 0]
        at = line.nonzero().ravel()
        assert set(at.diff().tolist()) <= {4, 5, 6}
        assert at[0] <= 5
        assert at[-1] >= 314
        starts.add(at[0].item())
    assert len(starts) > 2


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_frames_differ_around_a_common_centre(kind):
    mask = make_mask(kind, (64, 64), 5, frames=6, seed=4)[0]
    for t in range(5):
        assert not torch.equal(mask[t], mask[t + 1])


def test_uniform_frames_interleave_to_full_sampling():
    mask = make_mask("uniform1d", (4, 100), 4, frames=4, center=0, seed=7)[0, :, 0]
    assert mask.sum(0).min() >= 1
    assert mask.sum() == 100


def test_gaussian_density_falls_from_the_centre():
    mask = torch.stack([make_mask("gaussian2d", (64, 64), 6, seed=s, center=0)[0] for s in range(20)]).mean(0)
    assert mask[24:40, 24:40].mean() > 3 * mask[:8].mean()
    assert mask[:8].mean() > 0  # but it never stops


def test_poisson_points_keep_their_distance_where_random_ones_do_not():
    def nearest(kind):
        mask = make_mask(kind, (96, 96), 10, seed=1, center=0)[0]
        points = mask.nonzero().double()
        points = points[((points - 48).abs().amax(1)) > 30]  # outer k-space
        distance = torch.cdist(points, points)
        return distance.fill_diagonal_(torch.inf).amin(1)

    assert nearest("poisson2d").min() > 2.2
    assert nearest("gaussian2d").min() == 1


def test_radial_samples_lie_on_spokes_through_dc():
    mask = make_mask("radial", (65, 65), 8, seed=2, center=0)[0]
    assert mask[32, 32] == 1
    assert torch.equal(mask, mask.flip(0, 1)) or (mask - mask.flip(0, 1)).abs().sum() < 32  # all but the cut spoke
    assert mask[24:41, 24:41].mean() > 2 * mask.mean()


@pytest.mark.parametrize("kind", TWO_D)
def test_volume_reads_out_along_x_and_encodes_z_and_y(kind):
    mask = make_mask(kind, (32, 40, 12), 4, seed=1)
    assert mask.shape == (1, 32, 40, 12)
    assert torch.equal(mask, mask[..., :1].expand(-1, -1, -1, 12))
    assert torch.equal(mask[..., 0], make_mask(kind, (32, 40), 4, seed=1))


@pytest.mark.parametrize("kind", ONE_D)
def test_volume_lines_encode_y(kind):
    mask = make_mask(kind, (6, 40, 12), 4, seed=1)
    line = make_mask(kind, (1 + 1, 40), 4, seed=1)[0, 0]
    assert torch.equal(mask[0], line[None, :, None].expand(6, 40, 12))


def test_impossible_requests_are_refused():
    with pytest.raises(DataError, match=r"no mask kind 'spiral'. Use one of: uniform1d, random1d"):
        make_mask("spiral", (64, 64), 4)
    with pytest.raises(DataError, match=r"Acceleration 0.5 is not possible on 64 lines. Choose a number from 1 to 32"):
        make_mask("uniform1d", (64, 64), 0.5)
    with pytest.raises(DataError, match="Acceleration nan is not possible"):
        make_mask("radial", (64, 64), float("nan"))
    with pytest.raises(DataError, match=r"centre of 20 lines does not fit into the 16 samples"):
        make_mask("random1d", (64, 64), 4, center=20)
    with pytest.raises(DataError, match=r"centre of 33 x 33 points does not fit into the 1024 samples"):
        make_mask("poisson2d", (64, 64), 4, center=33)
    with pytest.raises(DataError, match=r"spatial shape \(y, x\) or \(z, y, x\), not \(64,\)"):
        make_mask("radial", (64,), 4)
    with pytest.raises(DataError, match="cannot have 0 frames"):
        make_mask("radial", (64, 64), 4, frames=0)
