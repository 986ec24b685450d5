"""Square windows of an image, in which local errors are searched."""

from __future__ import annotations

import torch
from torch import Tensor

from resolvent._types import Image
from resolvent.solve import along


def within(place: Tensor, side: int, like: Image) -> Tensor:
    """1 inside the square of `side` whose first row and column are `place` ``(n, 2)``, 0 elsewhere.

    Returns:
        ``(n, 1, ..., rows, columns)``, with as many axes as `like`.
    """
    rows, columns = (torch.arange(n, device=like.device) for n in like.shape[-2:])
    in_rows = (rows >= place[:, :1]) & (rows < place[:, :1] + side)
    in_columns = (columns >= place[:, 1:]) & (columns < place[:, 1:] + side)
    inside = in_rows.unsqueeze(2) & in_columns.unsqueeze(1)
    return inside.reshape(len(place), *(1,) * (like.ndim - 3), *inside.shape[1:])


def worst_places(harm: Tensor, side: int, count: int) -> Tensor:
    """The squares with the largest sums of `harm` ``(batch, ..., rows, columns)``, overlapping by at most half.

    Returns:
        First rows and columns ``(count, batch, 2)``; starting again from the worst where there is no room for more.
    """
    flat = harm.reshape(len(harm), -1, *harm.shape[-2:]).sum(1)
    sums = torch.nn.functional.avg_pool2d(flat.unsqueeze(1), side, stride=1).squeeze(1)
    rows, columns = (torch.arange(n, device=harm.device) for n in sums.shape[1:])
    left, places = sums.clone(), []
    for _ in range(count):
        exhausted = (left < 0).flatten(1).all(1)
        left = torch.where(along(exhausted, left), sums, left)
        first = left.flatten(1).argmax(1)
        row, column = first // len(columns), first % len(columns)
        places.append(torch.stack([row, column], 1))
        near = ((rows - row.unsqueeze(1)).abs() <= side // 2).unsqueeze(2)
        near = near & ((columns - column.unsqueeze(1)).abs() <= side // 2).unsqueeze(1)
        left = left.masked_fill(near, -1.0)
    return torch.stack(places)
