"""Sampling masks: which samples of k-space are measured.

Every mask has exactly ``round(N / acceleration)`` samples (or lines) per frame, including the fully sampled centre.
Only the time-varying lattice of ``uniform1d`` has that number on average instead of in each frame.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from resolvent._errors import DataError

MASK_KINDS = ("uniform1d", "random1d", "gaussian1d", "gaussian2d", "poisson2d", "radial")
"""Names that `make_mask` accepts."""

GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2  # 111.25 degrees, Winkelmann et al. 2007
_WIDTH = 0.2  # standard deviation of the Gaussian densities, as a fraction of the k-space extent


def make_mask(
    kind: str,
    shape: tuple[int, ...],
    acceleration: float,
    *,
    seed: int = 0,
    center: int | None = None,
    frames: int | None = None,
    readout: int | None = None,
) -> Tensor:
    """Draw a sampling mask.

    ============  =====================================================================================
    kind          samples
    ============  =====================================================================================
    uniform1d     equispaced lines with random offset; over time the lattice is sheared, so that
                  consecutive frames interleave
    random1d      lines drawn uniformly
    gaussian1d    lines drawn with a Gaussian density, std 0.2 of the extent
    gaussian2d    points drawn with a Gaussian density, std 0.2 of the extent on both axes
    poisson2d     points no closer than a distance that grows linearly from the centre
    radial        spokes at golden angles, rounded to the grid
    ============  =====================================================================================

    Phase encoding: in 2-D, shape ``(y, x)``, the lines of a 1-D kind run along y and differ along x; 2-D kinds
    encode both axes (the cross-section of a 3-D scan). In 3-D, shape ``(z, y, x)``, x is the readout and always
    complete; 2-D kinds encode ``(z, y)`` and 1-D kinds encode y.

    Args:
        kind: one of `MASK_KINDS`.
        shape: spatial shape, ``(y, x)`` or ``(z, y, x)``.
        acceleration: number of samples of the full grid divided by that of the mask, including the centre; >= 1.
        seed: the mask depends only on the arguments; no global random state is read or changed.
        center: number of fully sampled lines in the middle of each phase-encode axis. Default: for 1-D kinds
            ``0.32 N / acceleration`` (fastMRI: 8 % at 4, 4 % at 8), for 2-D kinds a square of at most 24 x 24 that
            takes at most a quarter of the samples.
        frames: number of time frames, each with its own draw around the common centre. Default: no time axis.
        readout: the axis that is frequency encoded, -1 or -2 (in 3-D also -3), if it is not the one above: the mask is
            then that of the shape with these two axes exchanged. 2-D kinds in 2-D still encode both axes.

    Returns:
        float32 of shape ``(1, *shape)`` or ``(1, frames, *shape)``, 1 where measured, DC at index ``N // 2``.

    Raises:
        DataError: unknown kind, a shape that is not 2-D or 3-D, or an acceleration that cannot be reached.

    Source: lines: Zbontar et al., fastMRI, arXiv 1811.08839, and the adjusted spacing of its public code; Poisson
    disc: Bridson 2007 and Lustig et al. 2007; golden angle: Winkelmann et al. 2007.

    >>> mask = make_mask("gaussian2d", (64, 64), 4, seed=1)
    >>> mask.shape, mask.sum().item()
    (torch.Size([1, 64, 64]), 1024.0)
    """
    if kind not in MASK_KINDS:
        raise DataError(f"There is no mask kind {kind!r}. Use one of: {', '.join(MASK_KINDS)}.")
    if len(shape) not in (2, 3) or min(shape) < 2:
        raise DataError(f"A mask needs a spatial shape (y, x) or (z, y, x), not {tuple(shape)}. Pass the spatial axes.")
    if frames is not None and frames < 1:
        raise DataError(f"A mask cannot have {frames} frames. Pass frames=None for a mask without time axis.")
    if turn := _turn(kind, len(shape), readout):
        there = make_mask(kind, _swapped(shape, turn), acceleration, seed=seed, center=center, frames=frames)
        return there.transpose(*turn).contiguous()
    lines = kind.endswith("1d")
    if lines:
        encoded = (shape[-1],) if len(shape) == 2 else (shape[1],)
    else:
        encoded = tuple(shape) if len(shape) == 2 else tuple(shape[:2])
    total = math.prod(encoded)
    if not 1 <= acceleration <= total / 2:
        raise DataError(
            f"Acceleration {acceleration:g} is not possible on {total} {'lines' if lines else 'points'}. "
            f"Choose a number from 1 to {total / 2:g}."
        )
    count = round(total / acceleration)
    if center is None:
        center = round(0.32 * count) if lines else min(24, math.isqrt(count // 4), *encoded)
    if center < 0 or center > min(encoded) or center ** len(encoded) > count:
        raise DataError(
            f"A fully sampled centre of {center} {'lines' if lines else 'x ' + str(center) + ' points'} does not fit "
            f"into the {count} samples that acceleration {acceleration:g} leaves of {total}. "
            "Lower center or the acceleration."
        )
    middle = np.zeros(encoded, dtype=bool)
    middle[tuple(slice(n // 2 - center // 2, n // 2 - center // 2 + center) for n in encoded)] = True
    rng = np.random.default_rng(seed)
    if count == total:
        drawn = np.ones((frames or 1, *encoded), dtype=bool)
    elif kind == "uniform1d":
        drawn = _lattice(middle, count, frames or 1, rng)
    else:
        draw = _DRAWS[kind]
        drawn = np.stack([draw(middle, count, rng) for _ in range(frames or 1)])
    if len(shape) == 3:  # the readout axis x, and z for lines, are complete
        drawn = drawn[:, None, :, None] if lines else drawn[..., None]
    elif lines:
        drawn = drawn[:, None, :]
    full = np.broadcast_to(drawn, (drawn.shape[0], *shape)).astype(np.float32)
    mask = torch.from_numpy(full)
    return mask if frames is None else mask[None]


def calibrated_up_to(kind: str, shape: tuple[int, ...], lines: int, readout: int | None = None) -> float:
    """The largest acceleration at which the default centre of `make_mask` has that many lines on each axis.

    >>> calibrated_up_to("gaussian1d", (96, 96), 8), calibrated_up_to("gaussian2d", (96, 96), 8)
    (4.0, 36.0)
    """
    if turn := _turn(kind, len(shape), readout):
        shape = _swapped(shape, turn)
    if kind.endswith("1d"):
        return shape[-1 if len(shape) == 2 else 1] / math.ceil((lines - 0.5) / 0.32)
    return math.prod(shape[:2]) / (4 * lines**2)


def _turn(kind: str, ndim: int, readout: int | None) -> tuple[int, int] | None:
    """The axis that a kind samples completely, and the readout; None if they are equal, or either does not exist."""
    complete = -1 if ndim == 3 else -2 if kind.endswith("1d") else readout
    return None if readout is None or complete is None or complete == readout else (complete, readout)


def _swapped(shape: tuple[int, ...], axes: tuple[int, int]) -> tuple[int, ...]:
    sizes = list(shape)
    sizes[axes[0]], sizes[axes[1]] = sizes[axes[1]], sizes[axes[0]]
    return tuple(sizes)


def _lattice(middle: np.ndarray, count: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Equispaced lines plus the centre; frame t is shifted by t / ceil(spacing) of one spacing.

    The spacing is that of fastMRI, ``(c - N) R / (c R - N)``, stretched slightly to make the total count right.
    """
    n, inside = middle.size, int(middle.sum())
    if count - inside <= 0:
        return np.repeat(middle[None], frames, 0)
    spacing = (n - inside) / (count - inside)
    shift = (rng.random() + np.arange(frames) / math.ceil(spacing)) % 1.0

    def lines(stretch: float) -> np.ndarray:
        step = spacing * stretch
        at = np.floor((shift[:, None] + np.arange(math.ceil(n / step) + 1)) * step).astype(int)
        mask = np.zeros((frames, at.max() + 1), dtype=bool)
        np.put_along_axis(mask, at, True, axis=1)
        return mask[:, :n] | middle

    best, error = lines(1.0), math.inf
    for stretch in sorted(np.linspace(0.8, 1.2, 401).tolist(), key=lambda s: abs(s - 1)):
        mask = lines(stretch)
        miss = abs(int(mask.sum()) - count * frames)
        if miss < error:
            best, error = mask, miss
        if not miss:
            break
    return best


def _weighted(middle: np.ndarray, count: int, weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The centre and other positions, `count` in all, drawn without replacement with odds `weight`.

    Exponential races (Efraimidis and Spirakis 2006): the positions with the smallest ``Exp(1) / weight`` win.
    """
    race = rng.standard_exponential(middle.shape) / weight
    race[middle] = -1.0
    mask = np.zeros(middle.size, dtype=bool)
    mask[np.argsort(race, axis=None, kind="stable")[:count]] = True
    return mask.reshape(middle.shape)


def _radius2(shape: tuple[int, ...]) -> np.ndarray:
    """Squared distance from DC in units of half the extent of each axis."""
    axes = [((np.arange(n) - n // 2) / (n / 2)) ** 2 for n in shape]
    return sum(np.meshgrid(*axes, indexing="ij"), np.zeros(()))


def _random(middle: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return _weighted(middle, count, np.ones(middle.shape), rng)


def _gaussian(middle: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return _weighted(middle, count, np.exp(-_radius2(middle.shape) / (2 * (2 * _WIDTH) ** 2)), rng)


def _radial(middle: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Golden-angle spokes until `count` points are taken; the last spoke is cut at its outer ends."""
    mask = middle.copy()
    half = np.array(middle.shape) / 2
    centre = np.array(middle.shape) // 2
    reach = np.arange(0, 2 * max(middle.shape)) / (math.sqrt(2) * max(middle.shape))
    reach = np.stack([reach, -reach], 1).ravel()  # from the centre outwards, both ways
    angle = rng.random() * math.pi
    missing = count - int(mask.sum())
    for _ in range(20 * sum(middle.shape)):
        if missing <= 0:
            return mask
        direction = half * np.array([math.sin(angle), math.cos(angle)])
        at = np.rint(centre + math.sqrt(2) * reach[:, None] * direction).astype(int)
        at = at[((at >= 0) & (at < middle.shape)).all(1)]
        flat = at[:, 0] * middle.shape[1] + at[:, 1]
        flat = flat[~mask.flat[flat]]
        _, first = np.unique(flat, return_index=True)
        flat = flat[np.sort(first)][:missing]
        mask.flat[flat] = True
        missing -= flat.size
        angle += GOLDEN_ANGLE
    mask.flat[np.flatnonzero(~mask)[:missing]] = True  # nearly full: the points that no spoke is rounded to
    return mask


def _poisson(middle: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Variable-density Poisson disc: points in random order, each taken if no taken point is too close.

    The distance is ``s (0.5 + rho)``, rho the normalised distance from DC. s is found by bisection so that slightly
    more than `count` points are taken; the surplus is dropped at random, which preserves the distances.
    """
    order = rng.permutation(middle.size)
    spread = 0.5 + np.sqrt(_radius2(middle.shape))
    low, high = 0.0, float(2 * max(middle.shape))  # low takes too many points, high too few
    scale = math.sqrt(0.7 * float((1 / spread**2).sum()) / count)  # a maximal disc packing holds ~0.7 / r^2 a pixel
    mask = np.ones(middle.shape, dtype=bool)
    for _ in range(30):
        if not low < scale < high:
            scale = (low + high) / 2
        trial = _throw(middle, order, scale * spread)
        taken = int(trial.sum())
        if taken >= count:
            low, mask = scale, trial
        else:
            high = scale
        if count <= taken <= 1.02 * count or high - low < 1e-3:
            break
        outside = int(middle.sum())
        ratio = max(taken - outside, 1) / max(1.01 * count - outside, 1)
        scale *= min(max(math.sqrt(ratio), 0.5), 2.0)
    surplus = np.flatnonzero(mask & ~middle)
    mask.flat[rng.permutation(surplus)[: int(mask.sum()) - count]] = False
    return mask


def _throw(middle: np.ndarray, order: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Dart throwing on the grid: a taken point blocks all points nearer than its own distance."""
    pad = math.ceil(distance.max()) + 1
    rows, columns = middle.shape
    width = columns + 2 * pad
    blocked = np.zeros((rows + 2 * pad) * width, dtype=np.uint8)
    seen = blocked.data
    ring = np.arange(-pad, pad + 1)
    far = ring[:, None] ** 2 + ring[None, :] ** 2
    flat = ring[:, None] * width + ring[None, :]
    step = 0.05
    level = np.minimum(np.ceil(distance / step), math.ceil(pad / step)).astype(int).ravel()
    discs: dict[int, np.ndarray] = {}
    mask = middle.copy().ravel()
    place = ((np.arange(rows) + pad)[:, None] * width + np.arange(columns) + pad).ravel()
    inner = mask.tolist()
    for p, at, size in zip(order.tolist(), place[order].tolist(), level[order].tolist(), strict=True):
        if seen[at] or inner[p]:
            continue
        if size not in discs:
            discs[size] = flat[far < (size * step) ** 2]
        blocked[at + discs[size]] = 1
        mask[p] = True
    return mask.reshape(middle.shape)


_DRAWS = {
    "random1d": _random,
    "gaussian1d": _gaussian,
    "gaussian2d": _gaussian,
    "poisson2d": _poisson,
    "radial": _radial,
}
