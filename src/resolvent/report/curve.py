"""Plots of the residual of a solve, against steps and against time."""

from __future__ import annotations

import math

WIDTH, HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 348, 12, 172


def curve(lines: list[tuple[list[float], list[float]]], axis: str) -> str:
    """An SVG plot of the residual of each slice (logarithmic) against steps or seconds; empty if there is no data.

    Args:
        lines: abscissae and residuals of each slice; residuals are relative to the first, and positive.
        axis: label of the horizontal axis.
    """
    lines = [([*x], [max(y, 1e-16) for y in ys]) for x, ys in lines if len(x) == len(ys) > 0]
    if not lines:
        return ""
    low = math.floor(math.log10(min(min(ys) for _, ys in lines)) + 1e-9)
    high = max(low + 1, math.ceil(math.log10(max(max(ys) for _, ys in lines)) - 1e-9))
    last = max(max(x) for x, _ in lines) or 1.0
    marks = ticks(last)

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (_RIGHT - _LEFT) * x / max(last, marks[-1])
        return across, _TOP + (_BOTTOM - _TOP) * (high - math.log10(y)) / (high - low)

    parts = []
    every = max(1, round((high - low) / 6))
    for power in range(low, high + 1, every):
        _, y = place(0, 10.0**power)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>')
        ten = f'10<tspan dy="-5" class="power">{power}</tspan>'
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{ten}</text>')
    for mark in marks:
        x, _ = place(mark, 1.0)
        parts.append(f'<text x="{x:.1f}" y="{_BOTTOM + 18}" text-anchor="middle">{mark:g}</text>')
    parts.append(f'<text x="{(_LEFT + _RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{axis}</text>')
    kind = "line" if len(lines) == 1 else "line many"
    for x, ys in lines:
        points = [place(a, b) for a, b in zip(x, ys, strict=True)]
        parts.append(f'<polyline class="{kind}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>')
        if len(lines) == 1:
            parts += [f'<circle class="dot" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in points]
    worst = max(ys[-1] for _, ys in lines)
    label = f"Residual over {axis}, falling to {worst:.2g} of the first"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def ticks(last: float) -> list[float]:
    """Round numbers from 0 to `last` or just beyond, at most seven."""
    unit = 10.0 ** math.floor(math.log10(last))
    step = next(s * unit / 10 for s in (1, 2, 5, 10, 20, 50) if last / (s * unit / 10) <= 6)
    return [round(i * step, 12) for i in range(math.ceil(last / step - 1e-9) + 1)]
