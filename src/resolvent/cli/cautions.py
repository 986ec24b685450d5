"""What a user should know before trusting an image: where nothing was measured, and what no training saw."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from resolvent.data import Scan

FAR = {"acceleration": (0.0, 1.5), "coils": (0.5, 2.0)}
"""Factors on the smallest and largest number in training; a scan beyond them is far from what the model saw."""


def cautions(scan: Scan, card: dict[str, Any]) -> tuple[str, ...]:
    """One sentence each, without the full stop; `card` is that of the model."""
    trained = _at(card, "training", "data", "scans")
    samples = scan.effective_samples
    acceleration = math.prod(scan.matrix) / float(samples[samples > 0].min())  # of the frame with the fewest
    texts = (block(scan), _far("acceleration", acceleration, trained), _far("coils", scan.n_coils, trained))
    return tuple(text for text in texts if text)


def block(scan: Scan) -> str:
    """A caution if the measured samples of a slice or a frame are one full block of the matrix; else empty."""
    from resolvent.mol.fit import place

    if scan.trajectory is not None:
        return ""
    frames = scan.mask.shape[: -scan.ndim]
    masks = (scan.mask != 0).flatten(0, -1 - scan.ndim)
    found = [(number, said) for number, mask in enumerate(masks) if (said := _block(mask))]
    if not found:
        return ""
    number, said = found[0]
    if len(masks) == 1 or (all(other == said for _, other in found) and len(found) == len(masks)):
        return said
    more = f"; the same in {len(found) - 1} more" if len(found) > 1 else ""
    return f"{place(number, frames)}: {said}{more}"


def _block(mask: Tensor) -> str:
    """The caution of one mask, boolean, without a name."""
    from resolvent.data.validation import filled

    within = filled(mask, mask.ndim)
    if bool(mask.all()) or within is None:
        return ""
    ends = [(part.start, part.stop) for part in within]
    sizes = " x ".join(str(last - first) for first, last in ends)
    whole = " x ".join(map(str, mask.shape))
    if all(abs(first - (n - last)) <= 1 for (first, last), n in zip(ends, mask.shape, strict=True)):
        return (
            f"k-space is zero outside a centred block of {sizes} in {whole}, as after interpolation or at low "
            "resolution: nothing was measured there"
        )
    return (
        f"k-space is complete in {sizes} of {whole}, to one side (partial Fourier): no phase constraint fills the rest"
    )


def _far(name: str, value: float, trained: Any) -> str:
    seen = trained.get(name) if isinstance(trained, dict) else None
    if not isinstance(seen, list) or not seen or not all(isinstance(n, int | float) for n in seen):
        return ""
    below, above = FAR[name]
    if below * min(seen) <= value <= above * max(seen):
        return ""
    said = f"R = {value:.3g}" if name == "acceleration" else f"{value} {'coil' if value == 1 else 'coils'}"
    return f"{said}, far from the {min(seen):g} to {max(seen):g} that the model was trained on"


def _at(of: Any, *names: str) -> Any:
    for name in names:
        of = of.get(name) if isinstance(of, dict) else None
    return of
