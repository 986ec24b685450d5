"""`LinearOperator`: the interface through which the solvers and the model use the physics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from resolvent._errors import DataError


class LinearOperator(nn.Module, ABC):
    """A linear map A from images to measurements, complex to complex, independent for each sample of the batch.

    Operators are immutable: their tensors cannot be rebound, because a solve and its gradient must use the same A.
    To change one, build a new operator. ``A.to(device)`` moves it. Its precision is that of the tensors it was built
    from; `to_double` gives a copy in double precision.

    Every tensor of a subclass is a buffer whose first axis is the batch, of length 1 if all samples share it.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """``A x``."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """``A^H y``, for any y, measured or not."""

    def normal(self, x: Tensor) -> Tensor:
        """``N x = A^H A x``; subclasses fuse the two where that is faster."""
        return self.adjoint(self(x))

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """``A^H (A x - y)``, the gradient of ``|A x - y|^2 / 2``.

        The difference is taken in the space of the measurements. ``N x - A^H y`` is equal except for rounding, but its
        rounding error may be any image, even one that A does not see and the data cannot correct. Here the error
        lies in the range of A^H.
        """
        return self.adjoint(self(x) - y)

    def preconditioner(self, shift: float, lam: Tensor) -> Callable[[Tensor], Tensor] | None:
        """A cheap Hermitian positive definite approximation of ``(shift I + lam N)^-1``, or None if there is none.

        Args:
            shift: weight of the identity, positive.
            lam: weight of N, positive, ``(batch,)``.
        """
        return None

    @property
    @abstractmethod
    def norm_bound(self) -> Tensor:
        """Proved upper bound of the largest singular value of A, for each sample: shape ``(batch or 1,)``."""

    @property
    def magnitude(self) -> Tensor | float:
        """A power of two near ``|A|`` where the scale of A is arbitrary, as with coil maps; ``(batch or 1,)``.

        Models in units of the scan divide lam by its square: their image is that of ``A / magnitude``, divided by it.
        """
        return 1.0

    @property
    def support(self) -> Tensor | None:
        """The pixels that A sees, 1 or 0, in the shape of an image (axes may be 1); None if A sees them all."""
        return None

    @property
    def compensation(self) -> Tensor | None:
        """Density compensation weights of the measurements; None if the density is even. They enter no equation."""
        return None

    def zero_filled(self, y: Tensor, back: Tensor | None = None) -> Tensor:
        """The zero-filled image, which needs no solve: ``A^H y``, with density compensation where there is one.

        Args:
            y: measurements.
            back: ``A^H y``, if it is known: it is returned unchanged where the density is even.
        """
        if self.compensation is not None:
            return self.adjoint(self.compensation * y)
        return self.adjoint(y) if back is None else back

    @property
    def elementwise(self) -> bool:
        """Whether A multiplies each number of x by a factor: then ``A @ B`` measures a part of what B measures."""
        return False

    def measured(self, y: Tensor) -> Tensor:
        """The part of y that was measured: y, set to zero where `adjoint` ignores it."""
        return y

    @property
    def frequency(self) -> Tensor | None:
        """Distance of each sample from the centre of k-space, 1 at the edge; None if y holds no k-space samples.

        In the shape of y with a coil axis of length 1; other axes may also be 1. Where it is known, `weighted` works.
        """
        return None

    def weighted(self, w: Tensor) -> LinearOperator:
        """``diag(w) A``, with real weights in (0, 1] in the shape of `frequency`; each scan may have its own."""
        raise NotImplementedError(f"{type(self).__name__.strip('_')} has no frequencies to weight.")

    def by_frame(self, y: Tensor) -> Tensor:
        """The samples of y, frame by frame: ``(batch, *lead, samples)``, or ``(batch, samples)`` without lead axes."""
        return y.flatten(1)

    def noise(self, y: Tensor) -> Tensor:
        """Standard deviation of the complex noise of one number of y, estimated from y, ``(batch,)``.

        Raises:
            DataError: it cannot be estimated from measurements of this kind.
        """
        raise DataError(
            f"The measurements of {type(self).__name__.strip('_')} do not show the noise level. "
            "Pass noise=, 0 if there is none."
        )

    @property
    def H(self) -> LinearOperator:
        """The adjoint as an operator: ``A.H(y) = A^H y`` and ``A.H.H is A``."""
        return _Adjoint(self)

    def __matmul__(self, inner: LinearOperator) -> LinearOperator:
        """``A @ B`` applies first B, then A: ``(A B) x = A (B x)``."""
        return _Product(self, inner)

    def select(self, index: Tensor) -> Self:
        """The operators of the samples `index` (integer tensor); tensors of batch size 1 are shared by all samples."""
        return self._map(lambda t: t if t.shape[0] == 1 else t[index], lambda part: part.select(index))

    def to_double(self) -> Self:
        """The same operator in double precision."""
        return self._map(doubled, lambda part: part.to_double())

    def extra_repr(self) -> str:
        """The shape of each tensor, and the precision."""
        shapes = [f"{name}={tuple(t.shape)}" for name, t in self.named_buffers(recurse=False)]
        kinds = {str(t.dtype)[6:]: None for t in self.buffers(recurse=False)}
        return ", ".join([*shapes, *kinds])

    def _map(self, change: Callable[[Tensor], Tensor], within: Callable[[LinearOperator], LinearOperator]) -> Self:
        """A copy with every buffer replaced by ``change(buffer)``, and each operator inside by ``within(operator)``."""
        new = type(self).__new__(type(self))
        state = vars(new)
        state.update(vars(self))
        state["_buffers"] = {name: None if t is None else change(t) for name, t in self._buffers.items()}
        state["_modules"] = {
            name: within(part) if isinstance(part, LinearOperator) else part for name, part in self._modules.items()
        }
        return new

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Refuse a change of precision: PyTorch would drop imaginary parts, or leave complex tensors unchanged."""
        for t in self.buffers():
            if fn(t.flatten()[:1].detach()).dtype != t.dtype:
                raise DataError(
                    f"the precision of {type(self).__name__.strip('_')} cannot be changed in place. "
                    "Take A.to_double(), or build A from maps in the wanted precision (for scans: `Scan.single`)."
                )
        return super()._apply(fn, recurse)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to rebind a tensor of the operator."""
        if name in vars(self).get("_buffers", {}):
            raise AttributeError(
                f"{type(self).__name__}.{name} cannot be rebound: operators are immutable. Build a new one."
            )
        super().__setattr__(name, value)


def doubled(t: Tensor) -> Tensor:
    """The tensor in double precision, if it holds real or complex numbers."""
    return t.to(torch.complex128) if t.is_complex() else t.double() if t.is_floating_point() else t


class _Adjoint(LinearOperator):
    """``A^H`` as an operator."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.adjoint(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator(y)

    def measured(self, y: Tensor) -> Tensor:
        return self.operator.measured(y) if self.elementwise else y

    @property
    def norm_bound(self) -> Tensor:
        return self.operator.norm_bound

    @property
    def magnitude(self) -> Tensor | float:
        return self.operator.magnitude

    @property
    def elementwise(self) -> bool:
        return self.operator.elementwise

    @property
    def H(self) -> LinearOperator:
        return self.operator


class _Product(LinearOperator):
    """``A B``."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        super().__init__()
        self.outer, self.inner = outer, inner

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))

    def normal(self, x: Tensor) -> Tensor:
        """``B^H (A^H A) B x``, with the fused normal operator of A."""
        return self.inner.adjoint(self.outer.normal(self.inner(x)))

    @property
    def norm_bound(self) -> Tensor:
        outer = self.outer.norm_bound
        return outer * self.inner.norm_bound.to(outer.device)  # an operator without tensors has its bound on the CPU

    @property
    def magnitude(self) -> Tensor | float:
        """The product of both magnitudes."""
        return self.outer.magnitude * self.inner.magnitude

    @property
    def compensation(self) -> Tensor | None:
        """The weights of A, whose measurements these are."""
        return self.outer.compensation

    @property
    def elementwise(self) -> bool:
        """Whether both operators are elementwise."""
        return self.outer.elementwise and self.inner.elementwise

    def measured(self, y: Tensor) -> Tensor:
        """What A measures; where A is elementwise, what both measure."""
        y = self.outer.measured(y)
        return self.inner.measured(y) if self.outer.elementwise else y

    def by_frame(self, y: Tensor) -> Tensor:
        """By the frames of A, or those of B where A is elementwise."""
        return (self.inner if self.outer.elementwise else self.outer).by_frame(y)

    def noise(self, y: Tensor) -> Tensor:
        """The noise as A estimates it; where A is elementwise, as B does from the measurements that A keeps."""
        return self.inner.noise(self.outer.measured(y)) if self.outer.elementwise else self.outer.noise(y)

    @property
    def support(self) -> Tensor | None:
        """The pixels that B sees."""
        return self.inner.support
