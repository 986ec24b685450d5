"""Anderson mixing of a fixed-point iteration, per sample and in real arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.linalg import vecdot

from resolvent.solve.vectors import norm


@dataclass
class AndersonHistory:
    """The last points and residuals of a batch of iterations, and the extrapolation they suggest.

    With ``r_i = T(x_i) - x_i`` the extrapolation is ``sum_i w_i T(x_i)``, where the real weights w, of sum one,
    minimise ``|sum_i w_i r_i|`` for each sample. Complex numbers count as pairs of reals, with ``Re a^H b`` as inner
    product, because a network with real and imaginary parts as channels is not complex-linear.

    Source: D. G. Anderson, J. ACM 12:547-560 (1965); H. F. Walker, P. Ni, SIAM J. Numer. Anal. 49:1715-1735 (2011).

    Args:
        depth: number of earlier points kept besides the newest.
    """

    depth: int
    _points: list[Tensor] = field(default_factory=list)
    _residuals: list[Tensor] = field(default_factory=list)

    def append(self, x: Tensor, residual: Tensor, valid: Tensor) -> None:
        """Keep a point ``(batch, n)`` and its residual, both real; samples that are not valid repeat their last."""
        if self._points:
            rows = valid.unsqueeze(1)
            x = torch.where(rows, x, self._points[-1])
            residual = torch.where(rows, residual, self._residuals[-1])
        self._points = [*self._points, x][-1 - self.depth :]
        self._residuals = [*self._residuals, residual][-1 - self.depth :]

    def select(self, index: Tensor) -> None:
        """Keep only the samples `index`."""
        self._points = [x[index] for x in self._points]
        self._residuals = [r[index] for r in self._residuals]

    def extrapolate(self) -> Tensor:
        """``sum_i w_i T(x_i)``, ``(batch, n)``; ``T(x)`` itself while there is only one point."""
        x, r = self._points[-1], self._residuals[-1]
        if len(self._points) == 1:
            return x + r
        earlier = list(zip(self._points[:-1], self._residuals[:-1], strict=True))
        differences = [r - old for _, old in earlier]
        # Each difference is scaled to length one, so the Gram matrix and its regularisation have no units.
        length = torch.stack([norm(d) for d in differences], 1)
        length = torch.where(length > 0, length, torch.ones_like(length))
        differences = [d.div_(scale.unsqueeze(1)) for d, scale in zip(differences, length.T, strict=True)]
        gram = torch.stack([torch.stack([vecdot(a, b) for b in differences], 1) for a in differences], 1)
        rhs = torch.stack([vecdot(d, r) for d in differences], 1).unsqueeze(2).to(torch.float64)
        eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        gamma = torch.linalg.solve(gram.to(torch.float64) + 10 * torch.finfo(r.dtype).eps * eye, rhs).to(r.dtype)
        result = x + r
        for (old, _), d, scale, weight in zip(earlier, differences, length.T, gamma.squeeze(2).T, strict=True):
            result.sub_(weight.unsqueeze(1) * ((x - old) / scale.unsqueeze(1) + d))
        return result
