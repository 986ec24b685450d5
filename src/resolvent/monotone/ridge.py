"""The convex ridge: a score that is the gradient of a strongly convex energy."""

from __future__ import annotations

from torch import Tensor

from resolvent.monotone.channels import from_channels, kernel_init, to_channels
from resolvent.monotone.layers import UnitKernel, reach
from resolvent.monotone.operator import ScanContext, Score
from resolvent.monotone.splines import MonotoneSpline, spline
from resolvent.monotone.strict import Layer, Strict, residual_layers


class ConvexRidge(Strict):
    """``F(x) = m x + L W^T s(W x)`` with ``|W| <= 1`` certified, s nondecreasing with slopes at most 1, L = 2 (1 - m).

    F is the gradient of ``m |x|^2 / 2 + L sum_k S_k((W x)_k)``, S_k the convex primitives of the splines s_k. Its
    Jacobian is symmetric with eigenvalues in [m, m + L], so ``c = m + L / 2`` and ``r = L / 2``. The equation depends
    only on ``lam / c``, so L is chosen to make c = 1: then F = I - H with ``H(x) = (1 - m) (x - 2 W^T s(W x))``.

    Args:
        m: monotonicity constant, in (0, 1).
        channels: number of filters.
        size: width of the filters, odd.
        ndim: axes convolved, 2 or 3.

    Source: A. Goujon et al., IEEE TCI 9:781-795 (2023), with a certified norm, and with the filters in one layer.
    """

    def __init__(self, m: float = 0.1, channels: int = 64, size: int = 9, ndim: int = 2) -> None:
        super().__init__(ndim, m, channels=channels, size=size)
        self.filters = UnitKernel(kernel_init(channels, 2, ndim, size), grid=grid_for(size))
        self.splines = MonotoneSpline(channels)

    @property
    def radius(self) -> int:
        """The half-width of the filters, which are applied twice."""
        return 2 * reach(self.filters.parameters())

    def condition(self, context: ScanContext | None = None) -> Score:
        """F with normalised weights."""
        gain, ndim = 1 - self.margin, self.ndim

        def network(x: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
            kernel, slopes, width = shared
            layer = Layer(kernel, None, lambda z: spline(z, slopes, width))
            return gain * from_channels(residual_layers(to_channels(x, ndim), [layer]), x)

        return Score(network, (self.filters(), *self.splines.tables(ndim)))


def grid_for(size: int) -> int:
    """Grid points for a kernel of this size that bound its norm within 4 % in 2-D and 6 % in 3-D."""
    return 16 * max(1, size // 2)
