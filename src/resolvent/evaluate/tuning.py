"""The choice of the weight of a regularised method, on other scans than the test scans."""

from __future__ import annotations

from collections.abc import Callable

FACTOR = 2.0
"""Ratio of successive weights: near the maximum, half of the ratio costs less than 0.1 dB."""
REACH = 16
"""Limit of the search, in factors from its start."""


def climb(score: Callable[[float], float], first: float) -> float:
    """The weight with the best score on the grid ``first * 2^k``, found by hill climbing from `first`.

    Both its neighbours are worse, so it is the best of the grid if the score has a single maximum, as it has for a
    regularised reconstruction.

    Args:
        score: mean PSNR at a weight.
        first: the weight at which to start.

    >>> climb(lambda weight: -abs(weight - 7), 1.0)
    8.0
    """
    known: dict[int, float] = {}

    def at(k: int) -> float:
        if k not in known:
            known[k] = score(first * FACTOR**k)
        return known[k]

    best = 0
    for direction in (1, -1):
        while abs(best + direction) <= REACH and at(best + direction) > at(best):
            best += direction
        if best:
            break
    return first * FACTOR**best
