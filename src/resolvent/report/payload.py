"""The data for the viewer of a page, as JSON types."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from resolvent._titles import title_of
from resolvent.report.planes import Kept, packed, packed_planes
from resolvent.report.words import number

if TYPE_CHECKING:
    from resolvent.data import Geometry


def payload(
    shown: dict[str, np.ndarray], scores: dict[str, Any], keep: Kept, aspect: float, scale: float
) -> dict[str, Any]:
    """The data for the viewer."""
    truth = shown.get("reference")
    guide = truth if truth is not None else shown.get("model", next(iter(shown.values())))
    peak = max(float(np.abs(image).max()) for image in shown.values()) or 1.0
    count, frames, rows, columns = guide.shape
    parts = whole(count, frames)
    content: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "aspect": round(aspect, 4),
        "count": len(keep.slices),
        "slices": [i + 1 for i in keep.slices],
        "of_slices": count,
        "frames": [i + 1 for i in keep.frames],
        "of_frames": frames,
        "peak": peak * scale,
        "window": float(np.percentile(np.abs(guide), 99.8)) / peak or 1.0,
        "truth": None if truth is None else list(shown).index("reference"),
    }
    if truth is not None:
        largest = float(np.abs(truth).max()) or 1.0
        errors = [np.abs(np.abs(image) - np.abs(truth)) for name, image in shown.items() if name != "reference"]
        limits = [float(np.percentile(error, 99)) / largest for error in errors[1:] or errors]
        content |= {"largest": largest / peak, "limit": max(*limits, 1e-6) if limits else 1.0}
    content["images"] = [
        packed_planes(name, keep.of(image), peak) | {"label": title_of(name), "score": _score(scores.get(name), parts)}
        for name, image in shown.items()
    ]
    return content


def byte_planes(values: np.ndarray, keep: Kept, ndim: int) -> dict[str, Any]:
    """k-space or mask: the kept planes; of a volume, all planes."""
    values = keep.of(values) if ndim == 2 else values
    slices, frames, rows, columns = values.shape
    data = packed(zlib.compress(values.tobytes(), 6))
    return {"slices": slices, "frames": frames, "rows": rows, "columns": columns, "data": data}


def affine_of(geometry: Geometry | None, keep: Kept) -> np.ndarray:
    """The affine of the kept slices, with voxels of one millimetre where the file says nothing."""
    found = np.eye(4) if geometry is None else np.array(geometry.affine, dtype=float)
    found[:3, 2] *= keep.slices.step
    return found


def edges(geometry: Geometry | None) -> list[str]:
    """What lies at the left, right, top and bottom edge of a plane, as in the volume viewer; empty if not known.

    >>> from resolvent.data import Geometry
    >>> edges(Geometry(np.diag([-1.0, -1.0, 1.0, 1.0])))
    ['R', 'L', 'A', 'P']
    """
    if geometry is None or not geometry.oriented:
        return []
    letters = []
    for step in geometry.affine[:3, :2].T:
        axis = int(np.abs(step).argmax())
        letters += ["LPI"[axis], "RAS"[axis]][:: 1 if step[axis] > 0 else -1]
    return letters


def whole(slices: int, frames: int) -> str:
    """What the scores cover, if a panel shows only a part of it.

    >>> whole(16, 1), whole(2, 6), whole(1, 1)
    ('all slices', 'all slices and frames', '')
    """
    names = [name for name, count in (("slices", slices), ("frames", frames)) if count > 1]
    return f"all {' and '.join(names)}" if names else ""


def _score(of: object, parts: str) -> str:
    if not isinstance(of, dict):
        return ""
    psnr, ssim = number(of.get("psnr")), number(of.get("ssim"))
    if psnr is None or ssim is None:
        return ""
    return " · ".join([f"PSNR {psnr:.1f} dB", f"SSIM {ssim:.3f}", *([parts] if parts else [])])
