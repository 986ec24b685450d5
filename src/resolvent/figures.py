"""Pictures of a reconstruction: images on one grey scale, errors on one scale, the residual, the certificate."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from resolvent._errors import FormatError
from resolvent._titles import title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _PAPER, _FAINT = "#1b1f24", "#ffffff", "#6a737d"
_ACCENT = "#0b6e99"
_MARK = "#ffb000"
_SIDE = 2.3  # width of a panel, inches
_MARGIN = 0.25
_HEAD = 0.45  # room above a panel for its name and score
_DPI = 130


def comparison(
    path: str | Path,
    images: dict[str, Tensor],
    *,
    reference: Tensor | None = None,
    scores: dict[str, dict[str, float]] | None = None,
    residuals: Tensor | None = None,
    title: str = "",
    caption: str = "",
) -> None:
    """Draw a comparison as PNG: above the images and the reference, below their errors and the residual of the solve.

    One grey scale serves all images, from 0 to the 99.8th percentile of the reference (of the model where there is
    none), and one colour scale all errors ``| |x| - |r| |``, as a percentage of the largest ``|r|``. Of several slices
    or frames the middle one is shown; the scores are the caller's.

    Args:
        path: ends in .png. It appears whole or not at all.
        images: ``(batch, *lead, y, x)`` by name: ``zero_filled``, ``sense``, ``model``.
        reference: same shape; without it there is no row of errors.
        scores: ``psnr`` and ``ssim`` by the same names.
        residuals: ``(steps, batch)``, residual norm of each step.
        title: a line above.
        caption: lines below; the certificate belongs here.

    Raises:
        FormatError: `path` does not end in .png.
        OutputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = _checked(path)
    planes = {title_of(name): _plane(image) for name, image in images.items()}
    truth = None if reference is None else _plane(reference)
    named = {title_of(name): score for name, score in (scores or {}).items()}

    shown = truth if truth is not None else planes.get(title_of("model"), next(iter(planes.values())))
    window = float(np.percentile(shown, 99.8)) or 1.0
    rows, columns = shown.shape
    across = len(planes) + 1
    tall = _SIDE * min(max(rows / columns, 0.5), 2.0)
    lower = tall if truth is not None else 0.0
    footer = 0.28 * len(caption.splitlines()) + 0.12
    width = across * _SIDE + (across + 1) * _MARGIN
    top = 0.5 + _HEAD + tall  # of the first row, its lower edge
    height = top + (_HEAD + lower) * (lower > 0) + 0.25 + footer

    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=_PAPER)
    FigureCanvasAgg(figure)

    def place(column: int, below: float, size: float) -> Axes:
        """A panel; `below` is the distance of its lower edge from the top, in inches."""
        left = _MARGIN + column * (_SIDE + _MARGIN)
        return figure.add_axes((left / width, 1 - below / height, _SIDE / width, size / height))

    for column, (name, plane) in enumerate(planes.items()):
        axes = place(column, top, tall)
        _image(axes, plane, window)
        _title(axes, name, _score(named.get(name)))
    if truth is not None:
        axes = place(len(planes), top, tall)
        _image(axes, truth, window)
        _title(axes, "Reference", "")
        _errors(figure, [place(c, top + _HEAD + lower, lower) for c in range(len(planes))], planes, truth)
        if residuals is not None and len(residuals):
            axes = place(len(planes), top + _HEAD + lower, lower)
            _curve(axes, residuals, inset=(0.35, 0.5, lower))
    elif residuals is not None and len(residuals):
        _curve(place(len(planes), top, tall), residuals, inset=(0.35, 0.5, tall))

    edge = _MARGIN / width
    figure.text(edge, 1 - 0.2 / height, title, color=_INK, fontsize=12, weight="bold", va="top")
    figure.text(edge, 0.14 / height, caption, color=_INK, fontsize=10, va="bottom", linespacing=1.5)

    _save(figure, path)


def attacked(
    path: str | Path,
    clean: Tensor,
    image: Tensor,
    perturbation: Tensor,
    *,
    reference: Tensor | None = None,
    window: tuple[int, int, int] | None = None,
    title: str = "",
    caption: str = "",
) -> None:
    """Draw an attack as PNG: clean and attacked image, the reference, the change of the image, and that of the data.

    One grey scale serves all images, as in `comparison`, and also the change ``|x' - x|``, multiplied by the largest of
    1, 2, 5, 10, ... that keeps it within the scale. The perturbation is the root of the sum of squares over the coils,
    in decibels below its largest sample. Of several slices or frames the middle one is shown.

    Args:
        path: ends in .png. It appears whole or not at all.
        clean: ``(batch, *lead, y, x)``, the image of the data as they are.
        image: that of the perturbed data.
        perturbation: ``(batch, coil, *lead, y, x)``.
        reference: same shape as `clean`.
        window: first row, first column and side of a square to mark.
        title: a line above.
        caption: lines below.

    Raises:
        FormatError: `path` does not end in .png.
        OutputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    path = _checked(path)
    panels = {"Clean": _plane(clean), "Attacked": _plane(image)}
    if reference is not None:
        panels["Reference"] = _plane(reference)
    limit = float(np.percentile(panels.get("Reference", panels["Clean"]), 99.8)) or 1.0
    difference = _plane(image - clean)
    most = float(np.percentile(difference, 99.8)) or limit
    times = max(k * 10**d for d in range(7) for k in (1, 2, 5) if k * 10**d * most <= max(limit, most))
    panels["Change"] = times * difference
    energy = _plane(perturbation.detach().abs().square().sum(1).sqrt())
    decibels = 20 * np.log10(np.maximum(energy, 1e-30) / max(float(energy.max()), 1e-30))

    rows, columns = panels["Clean"].shape
    across = len(panels) + 1
    tall = _SIDE * min(max(rows / columns, 0.5), 2.0)
    width = across * _SIDE + (across + 1) * _MARGIN + 0.35
    low = 0.5 + _HEAD + tall
    height = low + 0.2 + 0.28 * len(caption.splitlines()) + 0.12
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    for column, (name, plane) in enumerate((panels | {"Perturbation": decibels}).items()):
        left = (_MARGIN + column * (_SIDE + _MARGIN)) / width
        axes = figure.add_axes((left, 1 - low / height, _SIDE / width, tall / height))
        if name == "Perturbation":
            shown = axes.imshow(plane, cmap="magma", vmin=-40, vmax=0, interpolation="nearest")
            bar = figure.add_axes((left + (_SIDE + 0.06) / width, 1 - low / height, 0.08 / width, tall / height))
            scale = figure.colorbar(shown, cax=bar)
            scale.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
            bar.tick_params(labelsize=9, colors=_FAINT, length=2)
            _bare(axes)
            _title(axes, name, "k-space, dB")
        else:
            _image(axes, plane, limit)
            _title(axes, name, f"x {times}" if name == "Change" else "")
        if window is not None and name in ("Attacked", "Change"):
            row, first, side = window
            corner = (first - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=_MARK, linewidth=1.2))
    figure.text(_MARGIN / width, 1 - 0.2 / height, title, color=_INK, fontsize=12, weight="bold", va="top")
    figure.text(_MARGIN / width, 0.14 / height, caption, color=_INK, fontsize=10, va="bottom", linespacing=1.5)
    _save(figure, path)


def _checked(path: str | Path) -> str:
    """The name of a PNG that can be written."""
    from resolvent.data.io.output import check_writable

    path = str(path)
    if not path.lower().endswith(".png"):
        raise FormatError(f"{path} does not end in .png. Figures are PNG files.")
    check_writable(path)
    return path


def _save(figure: Figure, path: str) -> None:
    """The file appears whole or not at all."""
    from resolvent.data.io.output import whole

    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    with whole(path, [path]) as drafts:
        Path(drafts[0]).write_bytes(stream.getvalue())


def _plane(image: Tensor) -> np.ndarray:
    """Magnitude of the middle slice (and frame)."""
    volume = image.detach().abs().cpu().numpy().astype(np.float64)
    while volume.ndim > 2:
        volume = volume[len(volume) // 2]
    return volume


def _image(axes: Axes, plane: np.ndarray, window: float) -> None:
    axes.imshow(plane, cmap="gray", vmin=0, vmax=window, interpolation="nearest")
    _bare(axes)


def _errors(figure: Any, panels: list[Axes], planes: dict[str, np.ndarray], truth: np.ndarray) -> None:
    peak = float(truth.max()) or 1.0
    errors = [100 * np.abs(plane - truth) / peak for plane in planes.values()]
    limit = max(float(np.percentile(error, 99)) for error in errors[1:] or errors) or 1.0
    shown = None
    for axes, error in zip(panels, errors, strict=True):
        shown = axes.imshow(error, cmap="magma", vmin=0, vmax=limit, interpolation="nearest")
        _bare(axes)
    panels[0].set_title("Error, % of the largest value", color=_FAINT, fontsize=10, loc="left", pad=5)
    box = panels[-1].get_position()
    bar = figure.add_axes((box.x1 + 0.006, box.y0, 0.009, box.height))
    scale = figure.colorbar(shown, cax=bar, extend="max")
    scale.outline.set_visible(False)
    bar.tick_params(labelsize=9, colors=_FAINT, length=2)


def _curve(axes: Axes, residuals: Tensor, inset: tuple[float, float, float]) -> None:
    """Residual of every step over that of the first, of the slowest slice; room for labels is left at the edges."""
    from matplotlib.ticker import MaxNLocator

    left, bottom, tall = inset
    box = axes.get_position()
    dx, dy = box.width * (left + 0.45) / _SIDE, box.height * bottom / tall
    axes.set_position((box.x0 + dx, box.y0 + dy, box.width - dx, box.height - dy))
    curves = residuals.detach().cpu().double().numpy()
    curves = (curves / np.where(curves[0] > 0, curves[0], 1)).max(1)
    steps = np.arange(1, len(curves) + 1)
    axes.semilogy(steps, np.maximum(curves, 1e-16), color=_ACCENT, marker="o", markersize=4, linewidth=1.6)
    axes.set_xlabel("step", fontsize=10, color=_FAINT)
    axes.set_title("Residual of the solve", color=_FAINT, fontsize=10, loc="left", pad=5)
    axes.tick_params(labelsize=9, colors=_FAINT)
    axes.grid(True, which="major", color="#e1e4e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#c5cad1")


def _title(axes: Axes, name: str, score: str) -> None:
    """A name, and below it what is said of the panel."""
    axes.set_title(name, color=_INK, fontsize=12, loc="left", pad=19)
    axes.annotate(score, (0, 1), (0, 5), "axes fraction", "offset points", color=_FAINT, fontsize=10)


def _score(score: dict[str, float] | None) -> str:
    return "" if score is None else f"PSNR {score['psnr']:.1f} dB · SSIM {score['ssim']:.3f}"


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


__all__ = ["attacked", "comparison"]
