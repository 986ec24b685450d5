"""Still images in motion: periodic, smooth, and nothing else than the image moved."""

import numpy as np
import pytest
import torch

from resolvent.train import motion
from resolvent.train.motion import moving


@pytest.fixture
def image():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 40), torch.linspace(-1, 1, 36), indexing="ij")
    return (y**2 + x**2 < 0.7).float() * (1 + 0.3 * torch.sin(9 * x) * torch.sin(7 * y))


def test_a_series_depends_on_nothing_but_what_is_drawn(image):
    first, again, other = (moving(image, 6, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.shape == (6, 40, 36) and bool((first >= 0).all())
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_last_frame_leads_to_the_first_by_a_step_like_the_others(image):
    for seed in range(3):
        series = moving(image, 24, np.random.default_rng(seed))
        steps = (series - series.roll(1, 0)).flatten(1).norm(dim=1) / image.norm()
        assert 0 < float(steps[0]) <= 1.5 * float(steps[1:].max())
        assert 0.01 < float(steps.mean()) < 0.5


def test_an_image_whose_parts_do_not_move_stays_as_it_is(image, monkeypatch):
    for amount in ("_SHIFT", "_WIDEN", "_CHANGE"):
        monkeypatch.setattr(motion, amount, 0.0)
    series = moving(image, 3, np.random.default_rng(0))
    torch.testing.assert_close(series, image.expand(3, -1, -1), rtol=0, atol=1e-5)
    monkeypatch.setattr(motion, "_CHANGE", 0.8)
    changed = moving(image, 3, np.random.default_rng(0))
    assert float((changed - series).abs().max()) > 0.05  # brighter and darker, where it was
    assert float(changed[:, image == 0].abs().max()) < 1e-5
