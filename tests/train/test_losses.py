"""Losses: what they measure, and that nothing of the held-out samples reaches the reconstruction."""

import pytest
import torch

from resolvent.data import make_mask, ssim
from resolvent.train.config import Loss
from resolvent.train.losses import held_out_loss, image_loss, similarity, split


def images():
    generator = torch.Generator().manual_seed(0)
    r = torch.randn(2, 16, 14, dtype=torch.complex64, generator=generator)
    return r + 0.3 * torch.randn(2, 16, 14, dtype=torch.complex64, generator=generator), r


def test_similarity_is_the_ssim_of_the_scores():
    x, r = images()
    expected = [ssim(r[i : i + 1], x[i : i + 1]) for i in range(2)]
    assert similarity(x.abs(), r.abs()).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("part", ["complex", "magnitude", "ssim"])
def test_each_part_is_relative_and_zero_at_the_reference(part):
    x, r = images()
    weights = Loss(**{"complex": 0.0, "magnitude": 0.0, "ssim": 0.0, part: 1.0})
    assert float(image_loss(r, r, weights).abs().max()) < 1e-6
    torch.testing.assert_close(image_loss(1e3 * x, 1e3 * r, weights), image_loss(x, r, weights), rtol=1e-3, atol=1e-5)
    turned = image_loss(1j * r, r, weights)
    assert (float(turned.min()) > 1) == (part == "complex")


@pytest.mark.parametrize("kind", ["gaussian2d", "uniform1d"])
def test_split_is_disjoint_complete_and_keeps_the_centre(kind):
    mask = torch.cat([make_mask(kind, (32, 24), 2, seed=s) for s in (0, 1)])
    given, held = split(mask, 0.4, seed=3)
    assert torch.equal(given + held, mask) and not bool((given * held).any())
    assert float(held.sum() / mask.sum()) == pytest.approx(0.4, abs=0.01)
    assert torch.equal(given[:, 14:18, 10:14], mask[:, 14:18, 10:14])
    assert not torch.equal(split(mask, 0.4, seed=4)[1], held)
    inner, outer = held[:, 12:20, 9:15].sum() / 48, held.sum() / mask.sum()
    assert float(inner) > 0 and float(outer) > 0


def test_held_out_loss_is_zero_at_the_data_and_has_no_units():
    y = torch.randn(2, 3, 8, 8, dtype=torch.complex64)
    assert float(held_out_loss(y, y).max()) == 0
    torch.testing.assert_close(held_out_loss(0 * y, y), torch.full((2,), 2.0))
    torch.testing.assert_close(held_out_loss(7e3 * (y + 1), 7e3 * y), held_out_loss(y + 1, y))
