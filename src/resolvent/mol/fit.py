"""`Fit`: how far an image explains the measurements, which no certificate says."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resolvent._types import Image, KSpace
from resolvent.linop import LinearOperator
from resolvent.solve import norm

DOUBTFUL = 0.1
"""Largest part of the measurements, as a norm, that an image with the right physics leaves unexplained."""
WRONG_PHYSICS = (
    "coil maps, mask or trajectory may not be those of this scan, k-space may not be centred, something may have "
    "changed while it was measured, or the noise was underestimated"
)
"""What it may mean if more is left."""
NOISY = 0.9
"""Largest part of the measurements, as a norm, that may be noise: it then has four times the energy of the signal."""
ONLY_NOISE = "hardly anything but noise was measured, so the image shows little else than what the model expects"
"""What it means if more is noise."""


@dataclass(frozen=True)
class Fit:
    """What is left of the measurements when the image is taken away; a certificate is about the equation alone.

    The solution of an equation with the coil maps of another scan is unique, certified, and wrong. But it does not
    explain the measurements: several coils saw every point, and only with the right maps do they agree.

    On simulated and real heads with the right physics at most 5 % were unexplained; with maps that are mirrored,
    transposed, conjugate, shifted by 8 % of the matrix or in another order of the coils, or with a ghost, 12 to 98 %.
    What moves between the lines, or a shift by two pixels, may stay below `DOUBTFUL`: no fault found is no proof.

    Attributes:
        misfit: ``|A x - b| / |b|`` over the measured samples, ``(batch,)``.
        noise: what noise alone leaves, its level times the root of the number of samples, over ``|b|``; NaN if unknown.
    """

    misfit: Tensor
    noise: Tensor

    @property
    def unexplained(self) -> Tensor:
        """``sqrt(max(0, misfit^2 - noise^2))``, ``(batch,)``; NaN where the noise is unknown."""
        return (self.misfit.square() - self.noise.square()).clamp_min(0).sqrt()

    @property
    def _wrong(self) -> Tensor:
        """Which scans leave more than `DOUBTFUL` unexplained, those apart that are nothing but noise."""
        return (self.unexplained > DOUBTFUL) & ~(self.noise > NOISY)

    @property
    def doubtful(self) -> bool:
        """Whether of some scan more than `DOUBTFUL` is unexplained, or more than `NOISY` is noise."""
        return bool((self._wrong | (self.noise > NOISY)).any())

    @property
    def doubt(self) -> str:
        """What is wrong, for a message; empty if the image explains the measurements."""
        found = []
        if bool(self._wrong.any()):
            worst = int(torch.where(self._wrong, self.unexplained, -1).argmax())
            found.append(f"{self._named(worst)}{self._said(worst)}: {WRONG_PHYSICS}")
        if bool((self.noise > NOISY).any()):
            worst = int(self.noise.nan_to_num(-1).argmax())
            found.append(f"{self._named(worst)}the noise is {percent(float(self.noise[worst]))} of |b|: {ONLY_NOISE}")
        return "; ".join(found)

    def _named(self, number: int) -> str:
        return f"slice {number}: " if len(self.misfit) > 1 else ""

    def _said(self, number: int) -> str:
        known = bool(torch.isfinite(self.unexplained[number]))
        noise = f"noise {percent(float(self.noise[number]))}" if known else "noise unknown"
        return f"|A x - b| = {percent(float(self.misfit[number]))} of |b| ({noise})"

    @property
    def text(self) -> str:
        """One line for a person, about the worst sample."""
        known = bool(torch.isfinite(self.unexplained).all())
        return self._said(int((self.unexplained if known else self.misfit).argmax()))

    def record(self) -> dict[str, bool | list[float | None]]:
        """JSON types; None for what is unknown."""
        return {
            "doubtful": self.doubtful,
            "misfit": numbers(self.misfit),
            "noise": numbers(self.noise),
            "unexplained": numbers(self.unexplained),
        }


def fit(A: LinearOperator, x: Image, y: KSpace, noise: Tensor | float | None) -> Fit:
    """The `Fit` of an image.

    Args:
        A: the physics.
        x: the image, in the units of y.
        y: measurements ``(batch, coil, *lead, *spatial)``.
        noise: standard deviation of the complex noise of a sample of y, also one for each scan; None if unknown.
    """
    y = A.measured(y)
    size = norm(y)
    misfit = norm(A(x) - y) / size
    sigma = torch.as_tensor(torch.nan if noise is None else noise, device=size.device).to(size)
    return Fit(misfit, sigma * (y != 0).flatten(1).sum(1).sqrt() / size)


def numbers(values: Tensor) -> list[float | None]:
    """JSON numbers; None for one that is not finite."""
    return [v if math.isfinite(v) else None for v in values.tolist()]


def percent(ratio: float) -> str:
    """Two digits: 0.00031 is 0.031 %."""
    digits = f"{100 * ratio:.2g}"
    return f"{digits if 'e' not in digits or ratio < 1e-6 else f'{float(digits):g}'} %"
