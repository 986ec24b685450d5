"""The linear reconstruction: SENSE with a Tikhonov weight."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resolvent._errors import DataError
from resolvent._types import Image, KSpace
from resolvent.linop import LinearOperator
from resolvent.mol.equation import resolvent
from resolvent.mol.scale import intensity, noise_of
from resolvent.solve import along


def sense(y: KSpace, A: LinearOperator, *, weight: float | None = None, noise: Tensor | float | None = None) -> Image:
    """Tikhonov-regularised SENSE: ``argmin |A x - b|^2 + |x|^2 / weight``, by CG to a relative 1e-4.

    Args:
        y: measurements ``(batch, coil, *lead, *spatial)``.
        A: the physics.
        weight: weight of the data, ``lam`` in ``(I + lam N) x = lam A^H b``. By default ``1.5 s / noise``, s the
            intensity of the zero-filled image, and at most 3,000, for an A of magnitude 1 (see
            `LinearOperator.magnitude`). On validation scans this is within 1 dB of the best weight at 15 to 35 dB of
            SNR. (It is not Wiener's ``1 / noise^2``, since the missing samples are not a white signal.)
        noise: standard deviation of the complex noise of a sample of y; estimated from y by default.

    Raises:
        DataError: the weight is not positive.

    Source: K. P. Pruessmann et al., MRM 46:638-651 (2001).
    """
    if weight is not None:
        check_weight(weight, "Leave it out for the default.")
    back = A.adjoint(y)
    if weight is None:
        lam = sense_weight(y, A, noise, back)
    else:
        lam = torch.full((y.shape[0],), weight, dtype=y.real.dtype, device=y.device)
    return resolvent(A, lam, along(lam, back) * back, tol=1e-4)


def check_weight(weight: float, remedy: str) -> None:
    """Refuse a weight that is not positive and finite; `remedy` ends the message."""
    if not 0 < weight < math.inf:
        raise DataError(f"The weight is {weight}; it must be positive and finite. {remedy}")


def sense_weight(
    y: KSpace, A: LinearOperator, noise: Tensor | float | None = None, back: Image | None = None
) -> Tensor:
    """The default weight of `sense`, ``min(1.5 s / noise, 3000)``, s the intensity of the zero-filled image.

    One for each sample, ``(batch,)``. If the magnitude of A is not 1, s is divided by it, and the weight by its square.
    `back` is ``A^H y``, if it is known.
    """
    sigma = noise_of(y, A, noise)
    weight = 1.5 * intensity(A.zero_filled(y, back)) / A.magnitude / sigma.clamp_min(torch.finfo(sigma.dtype).tiny)
    return weight.clamp_max(3000.0) / A.magnitude**2
