"""The units of a scan: the scale in which a network sees it, and the weight of its data."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from resolvent._errors import DataError, ModelError, ShapeError
from resolvent._types import Image, KSpace
from resolvent.linop import LinearOperator, Still
from resolvent.mol.equation import INNER, WINDOW, Work, resolvent
from resolvent.mol.evidence import LOOSE, misfit, unseen
from resolvent.mol.identity import Identified
from resolvent.mol.scale import intensity, noise_of
from resolvent.monotone import ScanContext
from resolvent.solve import along

Method = TypeVar("Method", bound=Callable[..., Any])
NOISE_FLOOR = 0.002
"""Noise level and misfit, relative to the image scale, below which lam no longer depends on them."""
UNSEEN_FLOOR, UNSEEN_TYPICAL = 0.02, 0.1
"""Values of `unseen`: below the first lam no longer depends on it; at the second it leaves lam unchanged."""


@dataclass(frozen=True)
class UnitScan:
    """The scans of a batch in the units of a model.

    Attributes:
        A: the physics; with `worth`, that of the weighted measurements.
        y: measurements divided by `scale`, and weighted as in A.
        worth: weights of the measurements, in (0, 1]; None if there are none.
        lam: weight of the data, ``(batch,)``.
        data: ``lam A^H y``, divided by `scale`.
        scale: units of the data divided by units of the model, ``(batch,)``.
        support: the pixels that the image may fill, 1 or 0, axes may be 1; None if all.
        context: linear reconstruction, zero-filled image and noise level, divided by `scale`.
    """

    A: LinearOperator
    y: KSpace
    worth: Tensor | None
    lam: Tensor
    data: Image
    scale: Tensor
    support: Tensor | None
    context: ScanContext

    def seen(self, x: Image) -> Image:
        """``x`` on the support, zero elsewhere."""
        return x if self.support is None else self.support * x


class ScanUnits(Identified):
    """Base class of reconstructions in units of the scan: lam, and how it and the scale follow from the scan.

    With ``normalise=False`` images are in the units of y, every pixel may be filled, and lam is lam_0 for all scans.

    With ``normalise=True`` a scan is divided by ``s = sqrt(sum |x0|^4 / sum |x0|^2)`` of its linear reconstruction x0:
    the intensity of the object, whatever part of the field of view it fills. Scaled data then give the same image.
    Pixels that A does not see (no coil map) are zero. The weight of the data follows the quality of the samples: their
    noise level and `misfit`, divided by s, and the part of a typical image that they leave open (`unseen`)::

        log lam = log lam_0 + t log(1 + sqrt(noise^2 + misfit^2) / 0.002) + u log((unseen + 0.02) / 0.12)

    with lam divided by the square of the magnitude of A (see `LinearOperator.magnitude`), so that coil maps may also
    have any scale. The data get more weight the more of the image is open, since the network then has to guess more,
    and less weight the noisier they are and the more they contradict each other. lam_0, t and u are learned.

    Where A knows the frequencies of its samples, each ring of k-space has its own misfit, and so its own lam: the data
    term is ``sum_r lam_r A_r^H (A_r x - b_r)`` over the rings. This is one equation with the largest lam, in which the
    samples of A and b are weighted by ``sqrt(lam_r / lam)``. For a given scan lam and weights are constants.

    Args:
        lam: weight of the data lam_0, positive; learned as ``log lam``, so it stays positive. Dimensionless: |A| <= 1.
        normalise: work in the units of the scan.

    Attributes:
        linear_tol: accuracy of the linear reconstruction and of data-consistency steps.
    """

    def __init__(self, lam: float, *, normalise: bool) -> None:
        super().__init__()
        if not 0 < lam < math.inf:
            raise ModelError(f"lam is {lam}; the weight of the data must be positive.")
        self.log_lam = nn.Parameter(torch.tensor(math.log(lam)))
        self.normalise = normalise
        if normalise:
            self.noise_slope = nn.Parameter(torch.tensor(-1.0))
            self.unseen_slope = nn.Parameter(torch.tensor(0.5))
        self.linear_tol = 1e-3

    @property
    def lam(self) -> Tensor:
        """Weight of the data for a scan without noise or misfit that leaves a tenth of a typical image open."""
        return self.log_lam.exp()

    def in_units(
        self,
        y: KSpace,
        A: LinearOperator,
        noise: Tensor | float | None,
        work: Work | None = None,
        *,
        ndim: int,
        conditioned: bool = True,
    ) -> UnitScan:
        """The scans in the units of the model.

        Args:
            y: measurements ``(batch, coil, *lead, *spatial)``.
            A: the physics.
            noise: standard deviation of the complex noise of a sample of y; if None, estimated from y where anything
                depends on it, else 0.
            work: counts the applications of N.
            ndim: number of axes that the network convolves.
            conditioned: whether the network depends on the linear reconstruction and on the noise level. If not, a
                solve may still start at the linear reconstruction.

        Raises:
            ShapeError: the network convolves more axes than the image has.
            DataError: y, A and the model differ in precision.
        """
        back = A.adjoint(y)
        _check_precision(y, back, self.log_lam)
        zero_filled = A.zero_filled(y, back)
        if zero_filled.ndim <= ndim:
            raise ShapeError(
                f"the image has {zero_filled.ndim - 1} axes after the batch; the network convolves {ndim}. "
                "Pass the data of (batch, *lead, *spatial), or a model for 2-D images."
            )
        matters = conditioned or self.normalise
        sigma = noise_of(y, A, 0.0 if noise is None and not matters else noise)
        magnitude = torch.as_tensor(A.magnitude if self.normalise else 1.0, device=y.device).to(sigma).expand_as(sigma)
        zero_filled = zero_filled / along(magnitude**2, zero_filled)
        scale = intensity(zero_filled) if self.normalise else torch.ones_like(sigma)
        weight = self._weight(y, A, back, sigma, magnitude, ndim, work)
        each, worth = weight(scale), None
        lam = each.flatten(1).amax(1)
        if self.normalise and A.frequency is not None:
            worth = (each / along(lam, each)).sqrt()
            A, y = A.weighted(worth), worth * y
            back = A.adjoint(y)
        tol, window = (self.linear_tol, 0) if matters else (max(self.linear_tol, INNER), WINDOW)
        sense = resolvent(A, lam, along(lam, back) * back, tol=tol, window=window, work=work)
        if self.normalise:
            scale = intensity(sense)
            lam = weight(scale).flatten(1).amax(1)
        y, back, zero_filled, sense = (t / along(scale, t) for t in (y, back, zero_filled, sense))
        data = along(lam, back) * back

        def data_consistent(u: Tensor) -> Tensor:
            return resolvent(A, lam, u + data, tol=self.linear_tol, start=u.detach(), work=work)

        def still() -> Tensor:
            one = Still(data.shape[-3])
            return one(resolvent(A @ one, lam, one.adjoint(data), tol=self.linear_tol, work=work))

        series = data.ndim > 3 and getattr(A, "ndim", 2) == 2
        level = sigma / magnitude / scale
        context = ScanContext(sense, zero_filled, level, data_consistent, still=still if series else None)
        return UnitScan(A, y, worth, lam, data, scale, A.support if self.normalise else None, context)

    def _weight(
        self, y: KSpace, A: LinearOperator, back: Image, sigma: Tensor, magnitude: Tensor, ndim: int, work: Work | None
    ) -> Callable[[Tensor], Tensor]:
        """The function from the scale to the lam of each sample, in the shape of `misfit`."""
        if not self.normalise:
            return lambda scale: along(self.lam.expand_as(scale), y)
        share = (unseen(A, back, ndim, work) + UNSEEN_FLOOR) / (UNSEEN_TYPICAL + UNSEEN_FLOOR)
        level = misfit(A, y, back, tol=min(LOOSE, 100 * self.linear_tol), work=work)
        level = torch.hypot(along(sigma, level), level)

        def weight(scale: Tensor) -> Tensor:
            noise = torch.log1p(level / along(magnitude * scale, level) / NOISE_FLOOR)
            lam = self.log_lam + self.noise_slope * noise + self.unseen_slope * along(share.log(), noise)
            return lam.exp() / along(magnitude**2, noise)

        return weight


def full_precision(method: Method) -> Method:
    """Exempt a method of ``(self, y, ...)`` from `torch.autocast`: it computes in the precision of y."""

    @functools.wraps(method)
    def run(self: ScanUnits, y: Tensor, *args: Any, **options: Any) -> Any:
        with torch.autocast(y.device.type, enabled=False):
            return method(self, y, *args, **options)

    return cast(Method, run)


def check_signal(y: KSpace) -> None:
    """Refuse measurements that are not finite, or zero (or subnormal) throughout a sample, which has no scale then.

    Raises:
        DataError: there is such a sample, or the batch is empty.
    """
    if not len(y):
        raise DataError("k-space holds no samples: its batch (axis 0) is empty. Pass at least one.")
    largest = y.abs().flatten(1).amax(1)
    if not bool(torch.isfinite(largest).all()):
        sample = int((~torch.isfinite(largest)).nonzero()[0])
        raise DataError(f"k-space of sample {sample} holds NaN or infinite values. Repair or leave out that slice.")
    faint = largest < torch.finfo(largest.dtype).tiny
    if bool(faint.any()):
        sample = int(faint.nonzero()[0])
        if bool(largest[sample] > 0):
            raise DataError(
                f"k-space of sample {sample} is {float(largest[sample]):.2g} at most: numbers this small lose their "
                "digits. Scale the data."
            )
        raise DataError(
            f"k-space of sample {sample} is zero everywhere: there is no image in it. Leave out that slice."
        )


def _check_precision(y: Tensor, back: Tensor, weight: Tensor) -> None:
    """Refuse y, or an operator (by its ``A^H y``, `back`), of another precision than the weights of a model."""
    wanted = weight.dtype.to_complex()
    change = "double" if weight.dtype == torch.float32 else "float"
    for name, found in (("k-space is", y.dtype), ("the operator makes", back.dtype)):
        if found != wanted:
            raise DataError(
                f"{name} {found} but the model's weights are {weight.dtype}. Pass y.to({wanted}) and an operator of "
                f"such maps (for scans: `Scan.single`), or convert the model: model.{change}()."
            )
