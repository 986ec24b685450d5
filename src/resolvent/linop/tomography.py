"""`ParallelBeam`: computed tomography with parallel rays, without a matrix and with an exact adjoint."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resolvent._errors import DataError, ShapeError
from resolvent._types import Image
from resolvent.linop.base import LinearOperator


class ParallelBeam(LinearOperator):
    """``A x = P x / |P|_bound``: sums of the image along parallel rays, ``(batch, *lead, angle, detector)``.

    A pixel of the slice ``(y, x)``, at the position p relative to the centre ``(size - 1) / 2``, is projected to the
    detector position ``t = p_x cos a - p_y sin a`` (y points down), and split linearly between the two neighbouring
    bins, which are one pixel wide. The adjoint uses the same weights, so it is exact.
    ``|P| <= sqrt(max column sum * max row sum)`` (Schur), so ``|A| <= 1``: measurements are divided by `size`.

    Args:
        angles: radians, ``(angle,)``; in any order and number.
        shape: ``(y, x)`` of the image.

    Attributes:
        size: the bound of ``|P|``, by which A is divided: ``y = sinogram / A.size``.

    Raises:
        ShapeError: the angles have other axes, or the shape does not have two.
        DataError: the angles require a gradient.

    Source: the pixel-driven projector, T. M. Peters, IEEE Trans. Nucl. Sci. 28:3641 (1981). Approximate for fine
    structure: a pixel is a point, not a square.

    >>> import torch
    >>> A = ParallelBeam(torch.linspace(0, 3, 5), (4, 6))
    >>> A(torch.ones(1, 4, 6, dtype=torch.complex64)).shape
    torch.Size([1, 5, 9])
    """

    angles: Tensor

    def __init__(self, angles: Tensor, shape: tuple[int, int]) -> None:
        super().__init__()
        if angles.ndim != 1 or not len(angles) or len(shape) != 2:
            raise ShapeError(
                f"angles have {angles.ndim} axes and the image {len(shape)}. Pass angles (angle,) and shape (y, x)."
            )
        if angles.requires_grad:
            raise DataError("the angles require a gradient, but none is computed for them. Pass angles.detach().")
        self.shape = tuple(shape)
        self.bins = 2 * math.ceil(math.hypot(*(n - 1 for n in shape)) / 2 + 0.5) + 1
        self.register_buffer("angles", angles.double()[None])  # shared by all samples
        rows = self._project(torch.ones(1, *shape, dtype=torch.complex128, device=angles.device)).real
        self.size = math.sqrt(float(rows.max()) * len(angles))  # a pixel's shares sum to 1 at every angle

    def forward(self, x: Image) -> Tensor:
        """``A x``, ``(batch, *lead, y, x)`` to ``(batch, *lead, angle, detector)``."""
        if tuple(x.shape[-2:]) != self.shape:
            raise ShapeError(f"the image has the matrix {tuple(x.shape[-2:])}, not {self.shape}. Pass that one.")
        return self._project(x) / self.size

    def adjoint(self, y: Tensor) -> Image:
        """``A^H y``, the back projection."""
        expected = (self.angles.shape[1], self.bins)
        if tuple(y.shape[-2:]) != expected:
            raise ShapeError(f"y has {tuple(y.shape[-2:])} angles and detectors, not {expected}. Pass that many.")
        x = y.new_zeros(*y.shape[:-2], math.prod(self.shape))
        for line, (left, share) in zip(y.unbind(-2), map(self._shares, self.angles[0]), strict=True):
            share = share.to(y.real.dtype)
            x = x + line[..., left] * (1 - share) + line[..., left + 1] * share
        return x.unflatten(-1, self.shape) / self.size

    @property
    def norm_bound(self) -> Tensor:
        """1, apart from rounding: proved.

        The error of a sum of k numbers is at most ``k eps / 2`` times the sum of their magnitudes. A bin collects at
        most 3 pixels of each row, or of each column; a pixel collects 2 bins of each angle.
        """
        terms = max(3 * max(self.shape), 2 * self.angles.shape[1])
        bound = 1 + (terms / 2 + 8) * torch.finfo(torch.float32).eps  # the precision of x is not known here
        return torch.full((1,), bound, dtype=torch.float64, device=self.angles.device)

    def _project(self, x: Image) -> Tensor:
        x = x.flatten(-2)
        lines = []
        for left, share in map(self._shares, self.angles[0]):
            share = share.to(x.real.dtype)
            line = x.new_zeros(*x.shape[:-1], self.bins)
            lines.append(line.index_add(-1, left, x * (1 - share)).index_add(-1, left + 1, x * share))
        return torch.stack(lines, -2)

    def _shares(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        """The bin to the left of each pixel, and the share of the bin to its right."""
        y, x = (torch.arange(n, dtype=torch.float64, device=angle.device) - (n - 1) / 2 for n in self.shape)
        place = (x * angle.cos() - y[:, None] * angle.sin()).flatten() + (self.bins - 1) / 2
        left = place.floor()
        return left.long(), place - left
