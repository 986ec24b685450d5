"""Figures of a study as PNG and SVG, suitable for print and for colour-blind readers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resolvent.data.io.output import whole
from resolvent.evaluate.accuracy import ALL, SAMPLING
from resolvent.evaluate.store import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

INK, FAINT, GRID = "#1b1f24", "#57606a", "#e1e4e8"
COLOURS = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#d55e00", "#0072b2", "#cc79a7", "#8c6d31")
"""The palette of Okabe and Ito (jfly.uni-koeln.de/color), without its yellow, which is faint in print; and a brown."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
PLAIN = (0, (4, 1.5))
"""Line style of the iteration without acceleration."""


def write(folder: Path, found: dict[str, list[Row]]) -> list[Path]:
    """Draw every figure for which there are results, as ``NAME.png`` and ``NAME.svg``.

    Args:
        folder: the folder of the files.
        found: rows by experiment, from `Study.run`.

    Returns:
        The files, each written atomically.
    """
    style = _Style([row["method"] for row in found["accuracy"]])
    figures = {"accuracy": accuracy(found["accuracy"], style)}
    if found.get("steps"):
        figures["convergence"] = convergence(found["steps"], found["iterations"], style)
    if found.get("gaussian") and found.get("worst") and found.get("samples"):
        figures["robustness"] = robustness(found["gaussian"], found["worst"], found["samples"], style)
    if found.get("cost"):
        figures["cost"] = cost(found["cost"], style)
    return [path for name, figure in figures.items() for path in _save(figure, folder / name)]


def accuracy(rows: list[Row], style: _Style) -> Figure:
    """PSNR and SSIM against acceleration, one column of panels for each mask; bars are deviations between subjects."""
    files = {row["data"] for row in rows}
    shown = [row for row in rows if row["data"] == ALL] if len(files) > 1 else rows
    panels: dict[tuple[Any, ...], list[Row]] = {}
    for row in shown:
        panels.setdefault(tuple(row[name] for name in SAMPLING if name != "acceleration"), []).append(row)
    figure, axes = _figure(2, len(panels), width=1.2 + 3.1 * len(panels), height=5.8)
    _legend(figure, [style.handle(method) for method in style.methods])
    names = ", ".join(sorted(files - {ALL}))
    several = any(row["psnr_std"] is not None for row in shown)
    said = "means over subjects and their deviations" if several else "one subject"
    figure.supxlabel(f"{names}\n{said}", fontsize=8, color=FAINT)
    for column, (how, own) in enumerate(panels.items()):
        mask, snr, coils, _ = how
        title = f"{mask} · {'as measured' if snr is None else f'{snr:g} dB'} · {coils} coils"
        for line, (measure, label) in enumerate((("psnr", "PSNR [dB]"), ("ssim", "SSIM"))):
            ax = axes[line][column]
            for method in style.methods:
                points = [row for row in own if row["method"] == method]
                if points:
                    _points(ax, points, measure, style, method)
            ax.set_xticks(sorted({row["acceleration"] for row in own}))
            _label(ax, "acceleration" if line else "", label if column == 0 else "", title if line == 0 else "")
            ax.margins(x=0.15)
    return figure


def convergence(steps: list[Row], iterations: list[Row], style: _Style) -> Figure:
    """One scan: first model from every start, all models against seconds and steps, and effect of more iterations."""
    scan = steps[0]["scan_seed"]
    rows = [row for row in steps if row["scan_seed"] == scan]
    figure, axes = _figure(2, 2, width=9.2, height=6.4)
    networks = {row["method"] for row in [*steps, *iterations]}
    handles = [style.handle(method) for method in style.methods if method in networks]
    _legend(figure, [*handles, _line("not accelerated", PLAIN)])
    model = steps[0]["method"]
    first = [row for row in rows if row["method"] == model and row["start"] != "plain" and row["distance"]]
    starts = _Style([row["start"] for row in first])
    for start in starts.methods:
        own = [row for row in first if row["start"] == start]
        axes[0][0].semilogy([r["step"] for r in own], [r["distance"] for r in own], label=start, **starts.line(start))
    if first:  # else there is no reference solution
        axes[0][0].legend(frameon=False, fontsize=8, labelcolor=INK)
    panels = ((axes[0][1], "elapsed", "distance"), (axes[1][0], "step", "residual"))
    for ax, x, y in panels:
        for method in style.methods:
            for start, dash in (("sense", "-"), ("plain", PLAIN)):
                own = [row for row in rows if row["method"] == method and row["start"] == start and row[y]]
                line = {**style.line(method), "linestyle": dash, "markersize": 3}
                ax.semilogy([row[x] for row in own], [row[y] for row in own], **line)
    for method in style.methods:
        own = [row for row in iterations if row["method"] == method and row["multiple"] > 1 and row["change"]]
        multiples = sorted({row["multiple"] for row in own})
        means = [_mean([row["change"] for row in own if row["multiple"] == k]) for k in multiples]
        axes[1][1].semilogy(multiples, means, **style.line(method))
    low, high = axes[1][1].get_ylim()
    axes[1][1].set_ylim(low / 10, 10 * high)
    axes[1][1].set_xticks([2, 3, 4], ["2 x", "3 x", "4 x"])
    axes[1][1].margins(x=0.12)
    _label(axes[0][0], "step", "distance to the solution", f"{model}, from every start", whole_numbers=True)
    _label(axes[0][1], "seconds", "distance to the solution", "from SENSE")
    _label(axes[1][0], "step", "residual of the equation", "from SENSE", whole_numbers=True)
    _label(axes[1][1], "iterations", "change of the image", "beyond the usual iterations")
    return figure


def robustness(gaussian: list[Row], worst: list[Row], samples: list[Row], style: _Style) -> Figure:
    """PSNR under white noise and under the worst perturbation found, its gain and the bound, and more samples."""
    figure, axes = _figure(2, 2, width=9.2, height=6.4)
    bounded = [row for row in worst if row.get("gain_bound") and row["gain_bound_kind"] != "exact"]
    dashes = {True: ("bound, proved", "--"), False: ("bound, conditioning held or estimated", ":")}
    drawn = {row["gain_bound_kind"] == "proved" for row in bounded}
    bounds = [_line(*dash) for proved, dash in dashes.items() if proved in drawn]
    _legend(figure, [*(style.handle(method) for method in style.methods), *bounds])
    _curves(axes[0][0], gaussian, "epsilon", "psnr", style)
    _curves(axes[0][1], worst, "epsilon", "psnr", style)
    _curves(axes[1][0], worst, "epsilon", "gain_max", style)
    for method in style.methods:
        own = [row for row in bounded if row["method"] == method]
        proved = bool(own) and own[0]["gain_bound_kind"] == "proved"
        dash = {"linestyle": "--" if proved else ":", "linewidth": 1.2, "color": style.colour(method)}
        axes[1][0].plot([100 * r["epsilon"] for r in own], [r["gain_bound"] for r in own], **dash)
    _curves(axes[1][1], samples, "acceleration", "psnr", style)
    _label(axes[0][0], "white noise [% of the data]", "PSNR [dB]")
    _label(axes[0][1], "worst perturbation found [% of the data]", "PSNR [dB]")
    low = min(ax.get_ylim()[0] for ax in axes[0])
    high = max(ax.get_ylim()[1] for ax in axes[0])
    for ax in axes[0]:
        ax.set_ylim(low, high)
    _label(axes[1][0], "worst perturbation found [% of the data]", "largest gain")
    axes[1][0].set_ylim(bottom=0)
    _label(axes[1][1], "acceleration", "PSNR [dB]")
    return figure


def cost(rows: list[Row], style: _Style) -> Figure:
    """Bar charts: seconds of a reconstruction, seconds and saved megabytes of a training step."""
    from matplotlib.ticker import MaxNLocator

    panels = (
        ("recon_seconds", 1.0, "reconstruction [s]"),
        ("step_seconds", 1.0, "training step [s]"),
        ("saved_bytes", 1e-6, "saved for the gradient [MB]"),
    )
    figure, axes = _figure(1, 3, width=9.2, height=0.8 + 0.3 * len(rows))
    for column, (ax, (name, times, label)) in enumerate(zip(axes[0], panels, strict=True)):
        values = [times * (row.get(name) or 0) for row in rows]
        bars = ax.barh(style.methods, values, height=0.6, color=[style.colour(method) for method in style.methods])
        ax.bar_label(bars, [f"{v:.3g}" if v else "" for v in values], padding=3, color=INK, fontsize=8)
        ax.invert_yaxis()
        ax.margins(x=0.25)
        _label(ax, label, "")
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.grid(False, axis="y")
        if column:
            ax.set_yticks([])
    return figure


class _Style:
    """Colour, marker and line of each method, by its position in the study."""

    def __init__(self, methods: Sequence[str]) -> None:
        self.methods = list(dict.fromkeys(methods))

    def colour(self, method: str) -> str:
        return COLOURS[self.methods.index(method) % len(COLOURS)]

    def handle(self, method: str) -> Line2D:
        from matplotlib.lines import Line2D

        return Line2D([], [], label=method, **self.line(method))

    def line(self, method: str) -> dict[str, Any]:
        place = self.methods.index(method)
        marker = MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]  # a repeated colour gets another marker
        return {"color": self.colour(method), "marker": marker, "markersize": 5, "linewidth": 1.5}


def _figure(rows: int, columns: int, *, width: float, height: float) -> tuple[Figure, Any]:
    """Empty panels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Draw the legend above the panels."""
    columns = max(1, min(len(handles), int(figure.get_figwidth() / 1.9)))
    text = {"fontsize": 8.5, "labelcolor": INK, "handlelength": 3.2}
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False, **text)


def _line(label: str, dash: Any) -> Line2D:
    """A legend line that belongs to no method."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, color=FAINT, linestyle=dash)


def _points(ax: Axes, points: list[Row], measure: str, style: _Style, method: str) -> None:
    """Means with their deviations, shifted slightly so that the bars of methods do not overlap."""
    place = style.methods.index(method) - (len(style.methods) - 1) / 2
    x = [row["acceleration"] + 0.06 * place for row in points]
    deviations = [row[f"{measure}_std"] or 0 for row in points]
    bars = {"capsize": 2, "elinewidth": 0.7, **style.line(method)}
    ax.errorbar(x, [row[measure] for row in points], deviations if any(deviations) else None, **bars)


def _curves(ax: Axes, rows: list[Row], x: str, y: str, style: _Style) -> None:
    times = 100 if x == "epsilon" else 1
    for method in style.methods:
        own = [row for row in rows if row["method"] == method and row[y] is not None]
        ax.plot([times * row[x] for row in own], [row[y] for row in own], label=method, **style.line(method))


def _label(ax: Axes, below: str, beside: str, title: str = "", *, whole_numbers: bool = False) -> None:
    from matplotlib.ticker import MaxNLocator

    if whole_numbers:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(below, fontsize=9, color=INK)
    ax.set_ylabel(beside, fontsize=9, color=INK)
    ax.set_title(title, fontsize=9, color=FAINT, loc="left")
    ax.tick_params(labelsize=8, colors=FAINT)
    ax.grid(True, which="major", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color("#c5cad1")


def _mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def _save(figure: Figure, base: Path) -> list[Path]:
    """Save as PNG and SVG; the same results give the same bytes."""
    from matplotlib import rc_context

    paths = [base.with_suffix(suffix) for suffix in (".png", ".svg")]
    saved: tuple[Callable[[str], None], ...] = (
        lambda draft: figure.savefig(draft, format="png", metadata={"Software": None}),
        lambda draft: figure.savefig(draft, format="svg", metadata={"Date": None, "Creator": None}),
    )
    with rc_context({"svg.hashsalt": "resolvent"}), whole(str(base), [str(path) for path in paths]) as drafts:
        for draft, save in zip(drafts, saved, strict=True):
            save(draft)
    return paths
