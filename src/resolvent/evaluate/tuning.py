"""The weight of a regularised method, chosen on scans that it will not be tested on."""

from __future__ import annotations

from collections.abc import Callable

FACTOR = 2.0
"""From one weight that is tried to the next: at the top, half of it costs less than 0.1 dB."""
REACH = 16
"""Limit of the climb, in factors from where it began."""


def climb(score: Callable[[float], float], first: float) -> float:
    """The weight with the best score on the grid ``first * 2^k``, found by going uphill from `first`.

    Both neighbours of it are worse, so it is the best of the grid if the score has a single maximum, as that of a
    regularised reconstruction has.

    Args:
        score: mean PSNR at a weight.
        first: where to begin.

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
