"""Linear operators of SigPy and MRpro as operators here: they are only called, so neither library need be installed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from resolvent._errors import DataError, ShapeError
from resolvent.interop.foreign import ForeignOperator, copied
from resolvent.linop.base import doubled


def from_sigpy(
    linop: Any, *, norm: float, support: Tensor | None = None, frequency: Tensor | None = None
) -> ForeignOperator:
    """A ``sigpy.linop.Linop`` of one sample, applied to each sample of a batch.

    Images are ``(batch, *linop.ishape)`` and measurements ``(batch, *linop.oshape)``: ``(batch, *spatial)`` and
    ``(batch, coil, *spatial)`` for ``sigpy.mri.linop.Sense``. It computes with NumPy: on the CPU, and without a
    gradient to the contents of the operator. Certificates rest on ``linop.H`` and on `norm`, which are tested at random
    vectors (see `ForeignOperator`).

    Args:
        linop: has ``ishape``, ``oshape``, ``H``, and is called with an array.
        norm: proved bound of ``|A|``; 1 for ``Sense`` with maps of unit sum of squares.
        support: the pixels in which some map is not zero, ``(1, *linop.ishape)``, 1 or 0; others stay 0.
        frequency: as `LinearOperator.frequency`; without it all rings of k-space have the same weight.

    Raises:
        DataError: `linop` is not such an operator.

    >>> import numpy as np, sigpy.linop, torch
    >>> A = from_sigpy(sigpy.linop.FFT((4, 4)), norm=1.0)
    >>> x = torch.ones(2, 4, 4, dtype=torch.complex64)
    >>> torch.allclose(A.normal(x), x)
    True

    Source: F. Ong, M. Lustig, SigPy, ISMRM 2019.
    """
    _demand(linop, "ishape", "oshape", "H", package="sigpy.linop.Linop")
    return _FromSigPy(linop, norm, support, frequency)


def from_mrpro(
    operator: Any, *, norm: float, batch: int = 1, support: Tensor | None = None, frequency: Tensor | None = None
) -> ForeignOperator:
    """A linear operator of MRpro, such as ``FourierOp @ SensitivityOp``.

    Images are ``(batch, z, y, x)`` here and ``(batch, coil = 1, z, y, x)`` there, k-space ``(batch, coil, k2, k1, k0)``
    in both: for 2-D, z is a lead axis of length 1. Certificates rest on ``operator.adjoint`` and on `norm`, which are
    tested at random vectors (see `ForeignOperator`).

    Args:
        operator: called with a tensor, it returns a tuple of one tensor, as does its ``adjoint``.
        norm: proved bound of ``|A|``; 1 for an orthonormal transform with maps of unit sum of squares.
        batch: number of samples, if the operator differs from sample to sample.
        support: the pixels in which some map is not zero, ``(batch or 1, z, y, x)``, 1 or 0; others stay 0.
        frequency: see `from_sigpy`.

    Raises:
        DataError: `operator` is not such an operator.

    Source: F. Zimmermann et al., MRpro, https://github.com/PTB-MR/mrpro.
    """
    _demand(operator, "adjoint", "H", package="mrpro.operators.LinearOperator")
    return _FromMRpro(operator, norm, batch, support, frequency)


def _demand(operator: Any, *needed: str, package: str) -> None:
    for name in needed:
        if not hasattr(operator, name):
            raise DataError(f"{type(operator).__name__} has no {name}. Pass a {package}.")


class _Each(torch.autograd.Function):
    """A NumPy map applied to each sample; the gradient uses its adjoint."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, there: Any, back: Any) -> Tensor:
        ctx.maps = there, back
        if t.device.type != "cpu":
            raise DataError("SigPy's operators compute on the CPU. Move the measurements there: y.cpu().")
        return torch.stack([torch.as_tensor(there(one)) for one in t.detach().resolve_conj().numpy()]).to(t.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        there, back = ctx.maps
        return _Each.apply(gradient, back, there), None, None


class _FromSigPy(ForeignOperator):
    """One operator for all samples."""

    def __init__(self, linop: Any, norm: float, support: Tensor | None, frequency: Tensor | None) -> None:
        super().__init__(norm, 1, support, frequency)
        self.linop = linop

    def there(self, x: Tensor) -> Tensor:
        return self._each(x, self.linop, self.linop.H, self.linop.ishape)

    def back(self, y: Tensor) -> Tensor:
        return self._each(y, self.linop.H, self.linop, self.linop.oshape)

    def _each(self, t: Tensor, change: Any, other: Any, shape: Any) -> Tensor:
        if tuple(t.shape[1:]) != tuple(shape):
            raise ShapeError(
                f"the array has axes {tuple(t.shape[1:])} after the batch but the operator of SigPy takes "
                f"{tuple(shape)}. Pass an array of that shape."
            )
        return _Each.apply(t, change, other)


class _FromMRpro(ForeignOperator):
    """An operator of MRpro, whose images have a coil axis of length 1."""

    def __init__(
        self, operator: Any, norm: float, batch: int, support: Tensor | None, frequency: Tensor | None
    ) -> None:
        super().__init__(norm, batch, support, frequency)
        self.operator = operator

    def there(self, x: Tensor) -> Tensor:
        (y,) = self.operator(x.unsqueeze(1))
        return y

    def back(self, y: Tensor) -> Tensor:
        (x,) = self.operator.adjoint(y)
        return x.squeeze(1)

    def to_double(self) -> Self:
        new = super().to_double()
        if isinstance(self.operator, nn.Module):  # a trajectory or maps in single precision refuse a double image
            new.operator = copied(self.operator, doubled)
        return new
