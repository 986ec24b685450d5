"""Small structures: whether a reconstruction shows those that exist, and shows none that do not."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, max_pool3d

from resolvent._types import Image
from resolvent.evaluate.methods import Method
from resolvent.evaluate.robustness import ACCURACY
from resolvent.evaluate.scans import Case
from resolvent.evaluate.store import Row, common, plain
from resolvent.solve import norm

SHAPES = ("1", "2", "4", "8", "text")
"""Squares with this side in pixels, and letters of 5 x 5 pixels."""
CONTRASTS = (0.1, 0.5, 1.0)
"""Change of the magnitude, relative to the image there."""
TOGETHER, APART = 9, 8
"""Largest number of structures in one image, and the pixels between them."""
MARGIN = 4
"""Distance in pixels from a structure within which a change is attributed to it."""
_LETTERS = ("11111 10000 11110 10000 11111", "11111 00100 00100 00100 00100", "10001 10001 11111 10001 10001")


@dataclass(frozen=True)
class Insertions:
    """The inserted structures, all of one shape and contrast per image; see `inserted`."""

    shapes: tuple[str, ...] = SHAPES
    contrasts: tuple[float, ...] = CONTRASTS
    draws: int = 6


def structures(method: Method, case: Case, *, shape: str, contrast: float, draws: int) -> list[Row]:
    """How much of small structures a reconstruction shows, and what they change elsewhere in the image.

    Structures d are added to the object, hence ``A d`` to the data, with the same noise. With the change D of the
    image, `recovery` is ``Re <D, d> / |d|^2`` on the pixels of each structure, 1 if it is fully recovered: the mean and
    the smallest value. `false` is the largest ``|D|`` more than 4 pixels from every structure, relative to the largest
    magnitude.
    """
    told, reference = case.level, case.reference
    near = max_pool2d if case.A.ndim == 2 else max_pool3d  # in a volume also across the planes
    found, elsewhere = [], 0.0
    for seed in range(draws):
        parts = inserted(reference, shape, contrast, seed)
        if not parts:
            continue
        d = torch.stack(parts).sum(0)
        precise = method.precise(ACCURACY * float(norm(d) / norm(reference)))
        change = precise.reconstruct(case.y + case.A(d), case.A, told)[0]
        change = change - precise.reconstruct(case.y, case.A, told)[0]
        found += [float((change * part.conj()).real.sum() / part.abs().square().sum()) for part in parts]
        away = near((d != 0).float(), 2 * MARGIN + 1, stride=1, padding=MARGIN) == 0
        elsewhere = max(elsewhere, float((away * change.abs()).max() / reference.abs().max()))
    if not found:
        return []
    return [{"places": len(found), "recovery": fmean(found), "recovery_least": min(found), "false": elsewhere}]


def inserted(reference: Image, shape: str, contrast: float, seed: int) -> list[Image]:
    """Up to nine structures at random places inside the object, each as an image that is zero elsewhere.

    They lie in the plane of the last two axes, in the middle of the others. Each has `contrast` times the mean
    magnitude of the image there, and its phase.
    """
    rng = np.random.default_rng([seed, len(shape)])
    index = (0, *(n // 2 for n in reference.shape[1:-2]))
    plane = reference[index]
    bright = plane.abs() > 0.1 * plane.abs().max()
    parts: list[Tensor] = []
    centres: list[np.ndarray] = []
    for centre in rng.permutation(bright.nonzero().numpy()):
        pattern = _pattern(shape, rng)
        size = pattern.shape[-1]
        y, x = (int(c) - size // 2 for c in centre)
        inside = min(y, x) >= 0 and y + size <= plane.shape[0] and x + size <= plane.shape[1]
        free = all(np.abs(centre - other).max() >= size + APART for other in centres)
        if not (inside and free and bool(bright[y : y + size, x : x + size].all())):
            continue
        under = plane[y : y + size, x : x + size]
        part = torch.zeros_like(reference)
        part[index][y : y + size, x : x + size] = contrast * under.abs().mean() * torch.sgn(under) * pattern
        parts.append(part)
        centres.append(centre)
        if len(parts) == TOGETHER:
            break
    return parts


def _pattern(shape: str, rng: np.random.Generator) -> Tensor:
    if shape != "text":
        return torch.ones(int(shape), int(shape))
    letter = _LETTERS[int(rng.integers(len(_LETTERS)))]
    return torch.tensor([[float(dot) for dot in line] for line in letter.split()])


def summarise(rows: list[Row]) -> list[Row]:
    """Means over scans, smallest `recovery` and largest `false`, for each method, acceleration, shape and contrast."""
    names = ("method", "acceleration", "shape", "contrast")
    found = []
    for key in dict.fromkeys(tuple(row[name] for name in names) for row in rows):
        own = [row for row in rows if tuple(row[name] for name in names) == key]
        row: Row = dict(zip(names, key, strict=True)) | {"places": sum(r["places"] for r in own)}
        row |= {"recovery": fmean(r["recovery"] for r in own)}
        row |= {"recovery_least": min(r["recovery_least"] for r in own), "false": max(r["false"] for r in own)}
        found.append(plain({**row, **common(own)}))
    return found
