"""`Fit`: how well an image explains the measurements, which a certificate does not say."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from resolvent._types import Image, KSpace
from resolvent.linop import LinearOperator
from resolvent.solve import along, norm

DOUBTFUL = 0.1
"""Largest unexplained part of the measurements, in norm, for an image with the right physics."""
WRONG_PHYSICS = (
    "coil maps, mask or trajectory may not be those of this scan, k-space may not be centred, something may have "
    "changed while it was measured, or the noise was underestimated"
)
"""Possible reasons if more is unexplained."""
NOISY = 0.9
"""Largest part of the measurements, in norm, that may be noise: it then has four times the energy of the signal."""
ONLY_NOISE = "hardly anything but noise was measured, so the image shows little else than what the model expects"
"""What it means if more is noise."""


NOTHING = "nothing was measured, so what is shown there was made up by the model"
"""What it means if there is no sample at all."""


@dataclass(frozen=True)
class Fit:
    """How much of the measurements the image leaves unexplained; a certificate is only about the equation.

    The solution of an equation with the coil maps of another scan is unique, certified, and wrong. But it does not
    explain the measurements: several coils see every point, and they agree only with the right maps.

    On simulated and real heads with the right physics at most 5 % were unexplained; with maps that are mirrored,
    transposed, conjugate, shifted by 8 % of the matrix or in another order of the coils, or with a ghost, 12 to 100 %.
    Motion between the lines, or a shift by two pixels, may stay below `DOUBTFUL`: finding no fault is not a proof.

    All attributes have one entry for each scan of the batch, and for each frame of a series: ``(batch, *lead)``, where
    the operator has lead axes.

    Attributes:
        misfit: ``|A x - b| / |b|`` over the measured samples; NaN where there are none.
        noise: misfit of noise alone, its level times the root of the number of samples over ``|b|``; NaN if unknown.
        size: ``|b|``.
    """

    misfit: Tensor
    noise: Tensor
    size: Tensor

    @property
    def unexplained(self) -> Tensor:
        """``sqrt(max(0, misfit^2 - noise^2))``; NaN where the noise is unknown."""
        return (self.misfit.square() - self.noise.square()).clamp_min(0).sqrt()

    @property
    def doubtful(self) -> bool:
        """Whether there are `doubts`."""
        return bool(self.doubts)

    @property
    def doubts(self) -> dict[str, str]:
        """What is wrong, by kind, each for the worst scan or frame.

        "unexplained": more than `DOUBTFUL` of a scan is unexplained, or of a frame and then also more than its noise.
        "noise": more than `NOISY` of a scan is noise. "nothing": a frame has no sample.
        """
        found = {}
        scans = self.pooled(1)
        noisy = scans.noise > NOISY
        # nothing can be said about noise alone; a single frame must also exceed its own noise
        wrong = (scans.unexplained > DOUBTFUL) & ~noisy
        wrong = wrong.reshape(-1, *(1,) * (self.misfit.ndim - 1)) | (self.unexplained > self.noise.clamp_min(DOUBTFUL))
        wrong = wrong & ~(self.noise > NOISY)
        if bool(wrong.any()):
            worst = int(torch.where(wrong, self.unexplained, -1).argmax())
            found["unexplained"] = f"{self._named(worst)}{self._said(worst)}: {WRONG_PHYSICS}"
        if bool(noisy.any()):
            found["noise"] = scans._noisiest
        if bool((self.size == 0).any()):
            first = int((self.size == 0).int().argmax())
            found["nothing"] = f"{self._named(first)}{NOTHING}"
        return found

    @property
    def doubt(self) -> str:
        """All `doubts`, for a message; empty if the image explains the measurements."""
        return "; ".join(self.doubts.values())

    @property
    def faint(self) -> str:
        """The message about a frame with more noise than `NOISY`, such as a late echo, if its scan is not in doubt."""
        return self._noisiest if bool((self.noise > NOISY).any()) and "noise" not in self.doubts else ""

    @property
    def _noisiest(self) -> str:
        worst = int(self.noise.nan_to_num(-1).argmax())
        share = percent(float(self.noise.flatten()[worst]))
        return f"{self._named(worst)}the noise is {share} of |b|: {ONLY_NOISE}"

    def _named(self, number: int) -> str:
        name = place(number, self.misfit.shape)
        return f"{name}: " if name else ""

    def _said(self, number: int) -> str:
        misfit, noise = float(self.misfit.flatten()[number]), float(self.noise.flatten()[number])
        known = f"noise {percent(noise)}" if math.isfinite(misfit) and math.isfinite(noise) else "noise unknown"
        return f"|A x - b| = {percent(misfit)} of |b| ({known})"

    @property
    def text(self) -> str:
        """One line for a person, about the worst sample."""
        there = self.size > 0
        known = bool(torch.isfinite(self.unexplained[there]).all())
        left = self.unexplained if known else self.misfit
        return self._said(int(torch.where(there, left, -1).argmax()))

    def record(self) -> dict[str, Any]:
        """JSON types; None for what is unknown."""
        return {
            "doubtful": self.doubtful,
            "doubts": self.doubts,
            "misfit": numbers(self.misfit),
            "noise": numbers(self.noise),
            "unexplained": numbers(self.unexplained),
        }

    def pooled(self, axes: int = 0) -> Fit:
        """The fit of all entries as one (as of the planes of a volume), or of all behind the first `axes`.

        Squares are averaged with the weights ``|b|^2``, so a plane of air, which is only noise, hardly counts.
        """
        misfit, noise, size = (
            t.reshape(*t.shape[:axes], -1) if axes else t.reshape(1, -1) for t in (self.misfit, self.noise, self.size)
        )
        there, largest = size > 0, size.amax(-1, keepdim=True)
        weight = torch.where(there, size / largest, 0.0).square()

        def mean(values: Tensor) -> Tensor:
            squares = torch.where(there, values, 0.0).square()
            return ((weight * squares).sum(-1) / weight.sum(-1)).sqrt()

        return Fit(mean(misfit), mean(noise), largest.squeeze(-1) * weight.sum(-1).sqrt())


def place(number: int, shape: tuple[int, ...]) -> str:
    """Slice and frame of an entry of ``(batch, *lead)``, given its flat index; only those of which there are several.

    They count from 1, and frames count through all lead axes, as on the report page.

    >>> place(5, (2, 3)), place(1, (1, 3)), place(0, (1,))
    ('slice 2 of 2, frame 3 of 3', 'frame 2 of 3', '')
    """
    slices, frames = shape[0], math.prod(shape[1:])
    counted = (("slice", number // frames, slices), ("frame", number % frames, frames))
    return ", ".join(f"{name} {n + 1} of {count}" for name, n, count in counted if count > 1)


def joined(fits: list[Fit]) -> Fit:
    """The fits of several batches as one."""
    return Fit(*(torch.cat([getattr(fit, field.name) for fit in fits]) for field in fields(Fit)))


def fit(A: LinearOperator, x: Image, y: KSpace, noise: Tensor | float | None) -> Fit:
    """The `Fit` of an image.

    Args:
        A: the physics.
        x: the image, in the units of y.
        y: measurements ``(batch, coil, *lead, *spatial)``.
        noise: standard deviation of the complex noise of a sample of y, one or one for each scan; None if unknown.
    """
    y = A.measured(y)
    samples = A.by_frame(y)
    size, count = _norms(samples), (samples != 0).sum(-1)
    misfit = _norms(A.by_frame(A(x) - y)) / size
    sigma = torch.as_tensor(torch.nan if noise is None else noise, device=size.device).to(size)
    return Fit(misfit, along(sigma, size) * count.sqrt() / size, size)


def _norms(frames: Tensor) -> Tensor:
    """Norms of ``(batch, *frames, samples)`` along the last axis: ``(batch, *frames)``."""
    return norm(frames.reshape(-1, frames.shape[-1])).reshape(frames.shape[:-1])


def numbers(values: Tensor) -> list[Any]:
    """JSON numbers, nested as the axes are; None for one that is not finite."""
    if values.ndim > 1:
        return [numbers(row) for row in values]
    return [v if math.isfinite(v) else None for v in values.tolist()]


def percent(ratio: float) -> str:
    """The ratio in percent with two digits: 0.00031 is 0.031 %."""
    digits = f"{100 * ratio:.2g}"
    return f"{digits if 'e' not in digits or ratio < 1e-6 else f'{float(digits):g}'} %"
