"""`ForeignOperator`: a linear operator of another library, with the interface that the solvers need."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from resolvent._errors import DataError, ShapeError
from resolvent.linop import LinearOperator, Sampling
from resolvent.linop.trials import adjoint_error, norm_found

TOLERANCE = 1e-4
"""Relative tolerance of the tests: far above the rounding of single precision."""
STEPS = 5
"""Power iterations from a random image: less work than a solve."""


class ForeignOperator(LinearOperator):
    """``A x``, computed by another library for a whole batch, and returned for the selected samples.

    A solve continues with the samples that have not converged. Other libraries cannot select samples of operators that
    differ between samples (maps, masks of a batch); so the other samples are filled with zeros, and their results left
    out.

    `certify` relies on the declared adjoint and norm. Both are tested once, at random vectors and in a few power
    iterations, when the first measurements arrive. This finds gross errors, but proves nothing correct; beyond that
    they are taken on trust.

    Args:
        norm: a bound of the largest singular value of A: proved, not estimated.
        batch: number of samples, if the operator differs from sample to sample; 1 if they share it.
        support: the pixels that A sees, 1 or 0, ``(batch or 1, *image)``, axes may be 1; None if A sees them all.
        frequency: distance of each k-space sample from the centre, see `LinearOperator.frequency`.

    Raises:
        DataError: the bound is not a positive number.
    """

    norm: Tensor
    seen: Tensor | None
    radius: Tensor | None

    def __init__(
        self,
        norm: Tensor | float,
        batch: int = 1,
        support: Tensor | None = None,
        frequency: Tensor | None = None,
    ) -> None:
        super().__init__()
        norm = torch.as_tensor(norm, dtype=torch.float64).reshape(-1)
        if not bool((torch.isfinite(norm) & (norm > 0)).all()):
            raise DataError(
                f"norm is {norm.tolist()}, but a bound of |A| is a positive number. Pass one that is proved: for coil "
                "maps, an orthonormal transform and a mask the root of the largest sum of squares of the maps."
            )
        self.register_buffer("norm", norm)
        self.register_buffer("seen", support)
        self.register_buffer("radius", frequency)
        self.batch = batch
        self.rows: Tensor | None = None
        self.reached: Tensor | None = None

    @abstractmethod
    def there(self, x: Tensor) -> Tensor:
        """``A x`` of the whole batch."""

    @abstractmethod
    def back(self, y: Tensor) -> Tensor:
        """``A^H y`` of the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        """``A x``, in the precision of x."""
        return self._of_samples(self.there, x)

    def adjoint(self, y: Tensor) -> Tensor:
        """``A^H y``, in the precision of y.

        Raises:
            DataError: it is not the adjoint of `forward`, or the norm exceeds the declared bound.
        """
        x = self._of_samples(self.back, y)
        if self.reached is None:
            self.reached = self._try(x, y)
        return x

    def measured(self, y: Tensor) -> Tensor:
        """``y`` where A of a random image is not zero: elsewhere, according to A, nothing was measured."""
        if self.reached is None:
            with torch.no_grad():
                self.adjoint(y)
        assert self.reached is not None
        rows = slice(None) if self.rows is None else self.rows
        return self.reached[rows].to(y.device) * y

    @property
    def norm_bound(self) -> Tensor:
        """The declared bound."""
        return self.norm

    @property
    def support(self) -> Tensor | None:
        """The declared pixels."""
        return self.seen

    @property
    def frequency(self) -> Tensor | None:
        """The declared distances."""
        return self.radius

    def weighted(self, w: Tensor) -> LinearOperator:
        """``diag(w) A``."""
        return Sampling(w) @ self

    def select(self, index: Tensor) -> ForeignOperator:
        """The operators of the samples `index`."""
        new = super().select(index)
        if self.batch > 1:
            new.rows = index if self.rows is None else self.rows[index]
        return new

    @torch.no_grad()
    def _try(self, image: Tensor, data: Tensor) -> Tensor:
        """Test the adjoint at a random x and at ``A x`` plus a random y of equal norm, and the norm starting from x.

        Returns:
            where ``A x`` is not zero, for the whole batch or, if the samples share A, once.
        """
        whole = self._map(lambda t: t, lambda part: part)
        whole.rows = None
        generator = torch.Generator().manual_seed(0)
        count = len(data) if self.rows is None else self.batch
        x, y = (
            torch.randn(count, *t.shape[1:], dtype=t.dtype, device="cpu", generator=generator).to(t)
            for t in (image, data)
        )
        there = whole(x).to(y.dtype)
        whole.reached = reached = there != 0
        error = float(adjoint_error(whole, x, there + y * (there.norm() / y.norm())).max())
        if not error <= TOLERANCE:
            raise DataError(
                f"the adjoint that was given is not the adjoint of A: <A x, y> and <x, A^H y> differ by {error:.2g} "
                "|A x| |y| at random x and y. Certificates and gradients rest on it. Correct it at its source."
            )
        found, given = torch.broadcast_tensors(norm_found(whole, x, STEPS), self.norm.to(x.device))
        worst = int((found / given).argmax())
        if not found[worst] <= (1 + TOLERANCE) * given[worst]:
            raise DataError(
                f"norm is {given[worst]:.6g} but |A x| is {found[worst]:.6g} at an x of length 1, so it is no bound "
                "of |A|. Pass one that is proved."
            )
        return reached if self.batch > 1 else reached[:1]

    def _of_samples(self, change: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
        if self.rows is None:
            if self.batch not in (1, len(t)):
                raise ShapeError(
                    f"the array has {len(t)} samples (axis 0) but the operator has {self.batch}. "
                    "Pass as many, or an operator that all samples share."
                )
            return change(t).to(t.dtype)
        earlier = (self.rows[:, None] == self.rows).tril(-1).sum(1)  # how often a sample was selected before
        parts, places = [], []
        for turn in range(int(earlier.max()) + 1):
            places.append((earlier == turn).nonzero()[:, 0])
            rows = self.rows[places[-1]]
            whole = t.new_zeros(self.batch, *t.shape[1:]).index_copy(0, rows, t[places[-1]])
            parts.append(change(whole)[rows])
        return torch.cat(parts)[torch.cat(places).argsort()].to(t.dtype)


def copied(module: nn.Module, change: Callable[[Tensor], Tensor] = lambda t: t) -> nn.Module:
    """The module with its own tables of changed tensors, so that updates, which rebind tensors, do not affect it."""
    new = copy.copy(module)
    for table in ("_buffers", "_parameters"):
        vars(new)[table] = {name: None if t is None else change(t) for name, t in vars(module)[table].items()}
    parts = module._modules.items()
    vars(new)["_modules"] = {name: None if part is None else copied(part, change) for name, part in parts}
    return new
