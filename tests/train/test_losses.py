"""Losses: what they measure."""

import pytest
import torch

from resolvent.data import ssim
from resolvent.train.config import Loss
from resolvent.train.losses import image_loss, similarity


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
