"""The scale of an image, which is the unit in which a network sees it, and its noise level."""

from __future__ import annotations

import torch
from torch import Tensor

from resolvent._errors import DataError, ShapeError
from resolvent._types import Image, KSpace
from resolvent.linop import LinearOperator
from resolvent.solve import along, inner


def intensity(x: Image) -> Tensor:
    """``sqrt(sum |x|^4 / sum |x|^2)`` of each sample: ``(batch,)``; differentiable.

    For an object of constant intensity it is that intensity, whatever part of the field of view the object fills.
    Noise in an empty background hardly counts.
    """
    largest = x.detach().abs().flatten(1).amax(1)  # squares of squares would overflow
    unit = x / along(largest.clamp_min(torch.finfo(largest.dtype).tiny), x)
    squares = unit.real**2 + unit.imag**2
    tiny = torch.finfo(largest.dtype).tiny  # an image of zeros has intensity 0 and gradient 0
    return largest * (inner(squares, squares) / inner(unit, unit).clamp_min(tiny)).clamp_min(tiny).sqrt()


def noise_of(y: KSpace, A: LinearOperator, noise: Tensor | float | None) -> Tensor:
    """Standard deviation of the complex noise of a sample of y, ``(batch,)``: as stated, else estimated from y.

    Raises:
        DataError: the stated noise is not a standard deviation.
        ShapeError: it is neither one number nor one for each sample.
    """
    sigma = A.noise(y) if noise is None else noise
    sigma = torch.as_tensor(sigma, dtype=y.real.dtype, device=y.device)
    if sigma.shape not in ((), (1,), y.shape[:1]):
        shape, batch = tuple(sigma.shape), len(y)
        raise ShapeError(f"noise has the shape {shape}. Pass one number, or one for each of the {batch} samples.")
    if noise is not None and not bool((torch.isfinite(sigma) & (sigma >= 0)).all()):
        raise DataError(f"noise is {noise}, but a standard deviation is a finite number and not negative.")
    return sigma.expand(y.shape[0])
