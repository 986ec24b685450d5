"""Figures of a reconstruction: images on one grey scale, errors on one scale, the residual, the certificate."""

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

_INK, _PAPER, _FAINT = "#1b1f24", "#ffffff", "#6a737d"
_ACCENT = "#0b6e99"
_MARK = "#ffb000"
_SIDE = 2.3  # width of a panel, inches
_MARGIN = 0.25
_HEAD = 0.45  # space above a panel for its name and score
_TOP = 0.5 + _HEAD  # upper edge of the first row, below the title
_DPI = 130


def comparison(
    path: str | Path,
    images: dict[str, Tensor],
    *,
    reference: Tensor | None = None,
    scores: dict[str, dict[str, float]] | None = None,
    residuals: Tensor | None = None,
    aspect: float = 1.0,
    title: str = "",
    caption: str = "",
) -> None:
    """Draw a comparison as PNG: images and reference in the first row, errors and residuals in the second.

    All images have one grey scale, from 0 to the 99.8th percentile of the reference (of the model if there is no
    reference). All errors ``| |x| - |r| |`` have one colour scale, in percent of the largest ``|r|``. Of several slices
    or frames the middle one is shown; the scores are those that the caller passes.

    Args:
        path: ends in .png. The file is written atomically.
        images: ``(batch, *lead, y, x)`` by name: ``zero_filled``, ``sense``, ``model``.
        reference: same shape; without it there is no row of errors.
        scores: ``psnr`` and ``ssim`` by the same names.
        residuals: ``(steps, batch)``, residual norm of each step; NaN once a sample has ended.
        aspect: height over width of a pixel, see `resolvent.data.places.aspect_of`.
        title: a line above.
        caption: lines below; the certificate belongs here.

    Raises:
        FormatError: `path` does not end in .png.
        OutputError: the file cannot be written.
    """
    path = _checked(path)
    planes = {title_of(name): _plane(image) for name, image in images.items()}
    truth = None if reference is None else _plane(reference)
    named = {title_of(name): score for name, score in (scores or {}).items()}

    shown = truth if truth is not None else planes.get(title_of("model"), next(iter(planes.values())))
    window = float(np.percentile(shown, 99.8)) or 1.0
    tall = _height(shown, aspect)
    top = _TOP + tall  # lower edge of the first row
    bottom = top if truth is None else top + _HEAD + tall  # and of the last
    sheet = _Sheet(len(planes) + 1, bottom + 0.25, title, caption)
    for column, (name, plane) in enumerate(planes.items()):
        axes = sheet.panel(column, top, tall)
        _image(axes, plane, window, aspect)
        _title(axes, name, _score(named.get(name)))
    if truth is not None:
        axes = sheet.panel(len(planes), top, tall)
        _image(axes, truth, window, aspect)
        count = next(iter(images.values())).shape[:-2].numel()
        _title(axes, "Reference", f"the middle of {count}; scores of all" if named and count > 1 else "")
        _errors(sheet, [sheet.panel(c, bottom, tall) for c in range(len(planes))], planes, truth, aspect)
    if residuals is not None and len(residuals):
        _curve(sheet.panel(len(planes), bottom, tall), residuals, tall)
    sheet.save(path)


def attacked(
    path: str | Path,
    clean: Tensor,
    image: Tensor,
    perturbation: Tensor,
    *,
    reference: Tensor | None = None,
    window: tuple[int, int, int] | None = None,
    aspect: float = 1.0,
    title: str = "",
    caption: str = "",
) -> None:
    """Draw an attack as PNG: clean and attacked image, reference, and the changes of image and data.

    All images have one grey scale, as in `comparison`. It is also that of the change ``|x' - x|``, which is multiplied
    by the largest of 1, 2, 5, 10, ... that keeps it within the scale. The perturbation is the root sum of squares over
    the coils, in decibels below its largest sample. Of several slices or frames the middle one is shown.

    Args:
        path: ends in .png. The file is written atomically.
        clean: ``(batch, *lead, y, x)``, the image of the original data.
        image: the image of the perturbed data.
        perturbation: ``(batch, coil, *lead, y, x)``.
        reference: same shape as `clean`.
        window: first row, first column and side of a square to mark.
        aspect: height over width of a pixel, see `resolvent.data.places.aspect_of`.
        title: a line above.
        caption: lines below.

    Raises:
        FormatError: `path` does not end in .png.
        OutputError: the file cannot be written.
    """
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

    tall = _height(panels["Clean"], aspect)
    low = _TOP + tall
    sheet = _Sheet(len(panels) + 1, low + 0.2, title, caption, margin=0.35)
    for column, (name, plane) in enumerate((panels | {"Perturbation": decibels}).items()):
        axes = sheet.panel(column, low, tall)
        if name == "Perturbation":
            shown = axes.imshow(plane, cmap="magma", vmin=-40, vmax=0, interpolation="nearest", aspect=aspect)
            sheet.scale(axes, shown)
            _bare(axes)
            _title(axes, name, "k-space, dB")
        else:
            _image(axes, plane, limit, aspect)
            _title(axes, name, f"x {times}" if name == "Change" else "")
        if window is not None and name in ("Attacked", "Change"):
            row, first, side = window
            corner = (first - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=_MARK, linewidth=1.2))
    sheet.save(path)


class _Sheet:
    """A figure of panels of equal width side by side; lengths are in inches from its upper left corner.

    Args:
        across: number of panels.
        low: lower edge of the panels, with the space below them.
        title: a line above.
        caption: lines below.
        margin: space at the right, for a colour bar.
    """

    def __init__(self, across: int, low: float, title: str, caption: str, margin: float = 0.0) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width = across * _SIDE + (across + 1) * _MARGIN + margin
        self.height = low + 0.28 * len(caption.splitlines()) + 0.12
        self.figure = Figure(figsize=(self.width, self.height), dpi=_DPI, facecolor=_PAPER)
        FigureCanvasAgg(self.figure)
        edge = _MARGIN / self.width
        self.figure.text(edge, 1 - 0.2 / self.height, title, color=_INK, fontsize=12, weight="bold", va="top")
        self.figure.text(edge, 0.14 / self.height, caption, color=_INK, fontsize=10, va="bottom", linespacing=1.5)

    def panel(self, column: int, below: float, tall: float) -> Axes:
        """A panel whose lower edge is `below` the upper edge of the figure."""
        left = _MARGIN + column * (_SIDE + _MARGIN)
        box = (left / self.width, 1 - below / self.height, _SIDE / self.width, tall / self.height)
        return self.figure.add_axes(box)

    def scale(self, axes: Axes, shown: Any, extend: str = "neither") -> None:
        """Draw the colour bar of `shown` at the right of its panel."""
        box = axes.get_position()
        bar = self.figure.add_axes((box.x1 + 0.06 / self.width, box.y0, 0.08 / self.width, box.height))
        scale = self.figure.colorbar(shown, cax=bar, extend=extend)
        scale.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        bar.tick_params(labelsize=9, colors=_FAINT, length=2)

    def save(self, path: str) -> None:
        """Write the file, atomically."""
        from resolvent.data.io.output import whole

        stream = io.BytesIO()
        self.figure.savefig(stream, format="png", metadata={"Software": None})
        with whole(path, [path]) as drafts:
            Path(drafts[0]).write_bytes(stream.getvalue())


def _checked(path: str | Path) -> str:
    """The path, if it is that of a PNG that can be written."""
    from resolvent.data.io.output import check_place

    path = str(path)
    if not path.lower().endswith(".png"):
        raise FormatError(f"{path} does not end in .png. Figures are PNG files.")
    check_place(path)
    return path


def _height(plane: np.ndarray, aspect: float) -> float:
    """Height of the panel of an image: that of its pixels, but at least half and at most twice the width."""
    rows, columns = plane.shape
    return _SIDE * min(max(rows * aspect / columns, 0.5), 2.0)


def _plane(image: Tensor) -> np.ndarray:
    """Magnitude of the middle slice and frame."""
    volume = image.detach().abs().cpu().numpy().astype(np.float64)
    while volume.ndim > 2:
        volume = volume[len(volume) // 2]
    return volume


def _image(axes: Axes, plane: np.ndarray, window: float, aspect: float) -> None:
    axes.imshow(plane, cmap="gray", vmin=0, vmax=window, interpolation="nearest", aspect=aspect)
    _bare(axes)


def _errors(sheet: _Sheet, panels: list[Axes], planes: dict[str, np.ndarray], truth: np.ndarray, aspect: float) -> None:
    peak = float(truth.max()) or 1.0
    errors = [100 * np.abs(plane - truth) / peak for plane in planes.values()]
    limit = max(float(np.percentile(error, 99)) for error in errors[1:] or errors) or 1.0
    shown = None
    for axes, error in zip(panels, errors, strict=True):
        shown = axes.imshow(error, cmap="magma", vmin=0, vmax=limit, interpolation="nearest", aspect=aspect)
        _bare(axes)
    panels[0].set_title("Error, % of the largest value", color=_FAINT, fontsize=10, loc="left", pad=5)
    sheet.scale(panels[-1], shown, extend="max")


def _curve(axes: Axes, residuals: Tensor, tall: float) -> None:
    """Plot the largest residual of every step relative to the first, with space for labels at the edges."""
    from matplotlib.ticker import MaxNLocator

    box = axes.get_position()
    dx, dy = box.width * 0.8 / _SIDE, box.height * 0.5 / tall
    axes.set_position((box.x0 + dx, box.y0 + dy, box.width - dx, box.height - dy))
    curves = residuals.detach().cpu().double().numpy()
    curves = np.fmax.reduce(curves / np.where(curves[0] > 0, curves[0], 1), axis=1)  # ignores NaN
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
    """Write a name, and below it the score, above the panel."""
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
