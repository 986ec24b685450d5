"""Samples held out: how they are chosen, and what is made of them."""

import pytest
import torch

from resolvent.data import make_mask
from resolvent.mol.held_out import held_out_loss, split


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
