"""Conditioned scores: strictly monotone for every scan, with most of the quality of an unconstrained network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from resolvent.monotone.channels import from_channels, kernel_init, per_sample, to_channels
from resolvent.monotone.convolution import conv
from resolvent.monotone.layers import UnitKernel, reach
from resolvent.monotone.operator import Bound, ScanContext, Score, noise_channel, scanned
from resolvent.monotone.ridge import grid_for
from resolvent.monotone.splines import MonotoneSpline, spline
from resolvent.monotone.strict import Layer, Strict, checked_width, residual_layers
from resolvent.monotone.tiling import in_tiles


class _Conditioned(Strict):
    """``H(x) = u + (1 - m) N(x - u)``; u, and a bias and a gate for each of `units` per pixel, come from the scan.

    Once per scan an ordinary network, the trunk, processes the linear reconstruction. It makes `passes` passes with
    shared weights, each ``u <- DC(u + f(u, A^H b, noise))``, except that the last is without DC. DC is the
    data-consistency step ``(I + lam N)^-1 (u + lam A^H b)``. N is 1-Lipschitz whatever the trunk returns, so for every
    given scan F is m-monotone. There is no bound on how u, biases and gates change with the data.
    """

    def __init__(self, ndim: int, m: float, units: int, width: int, passes: int, **config: float) -> None:
        super().__init__(ndim, m, width=width, passes=passes, **config)
        self.passes = passes
        self.trunk = Trunk(width, ndim)
        self.head_weight = nn.Parameter(kernel_init(2 * units, width, ndim, size=1, gain=0.1))
        self.head_bias = nn.Parameter(torch.tensor([0.0] * units + [-1.0] * units))

    def conditioning(self, lam: float) -> Bound:
        """No bound: the trunk is an ordinary network."""
        return Bound(math.inf, "estimated")

    def features(self, context: ScanContext | None) -> tuple[Tensor, Tensor]:
        """The anchor u, and the features of the trunk ``(batch, fold, width, *spatial)``."""
        context = scanned(context)
        anchor, ndim = context.sense, self.ndim
        given = (context.zero_filled, per_sample(noise_channel(context, ndim), len(anchor)))

        def look(x: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
            zero_filled, noise = own
            seen = torch.cat([to_channels(x, ndim), to_channels(zero_filled, ndim), noise.flatten(0, 1)], 1)
            return per_sample(torch.cat(self.trunk(seen), 1), len(x))

        in_parts = in_tiles(look, self.trunk.radius, context.tile)
        seen = anchor
        for remaining in reversed(range(self.passes)):
            seen = in_parts(anchor, (), given)
            anchor = anchor + from_channels(seen[:, :, -2:].flatten(0, 1), anchor)
            if remaining:
                anchor = context.data_consistent(anchor)
        return anchor, seen[:, :, :-2].movedim(2, -1).contiguous().movedim(-1, 2)  # channels last


class ConditionedStack(_Conditioned):
    """`ResidualStack` around an anchor u, with biases and gates for every layer and pixel, all from the scan.

    ::

        z_0 = [x - u, 0],   z_l = z_{l-1} - 2 W_l^T [ g_l relu(W_l z_{l-1} + b_l) ],   H(x) = u + (1 - m) [z_L]_{1,2}

    Gates lie in (0, 1) and ``|W_l| <= 1`` is certified, so every layer is 1-Lipschitz (see `ResidualStack`): for every
    given scan one solution, convergence and the distance certificate are proved. The bound of the gain from data to
    image holds with the conditioning (u, b, g) held fixed.

    Args:
        m: monotonicity constant, in (0, 1).
        channels: width of the stack.
        layers: number of residual layers.
        width: channels of the trunk.
        passes: passes of the trunk.
        ndim: axes convolved, 2 or 3.
    """

    def __init__(
        self, m: float = 0.1, channels: int = 24, layers: int = 8, width: int = 32, passes: int = 4, ndim: int = 2
    ) -> None:
        super().__init__(ndim, m, layers * checked_width(channels), width, passes, channels=channels, layers=layers)
        self.convs = nn.ModuleList(UnitKernel(kernel_init(channels, channels, ndim)) for _ in range(layers))

    @property
    def radius(self) -> int:
        """Half-widths of all kernels, each of which is applied twice."""
        return 2 * reach(self.convs.parameters())

    def condition(self, context: ScanContext | None = None) -> Score:
        """F for the scans of `context`: the trunk runs here, and never in the solve."""
        anchor, features = self.features(context)
        shared = (*(c() for c in self.convs), self.head_weight, self.head_bias)
        return Score(self._network, shared, (anchor, features), start=anchor)

    def _network(self, x: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
        (*kernels, weight, offset), (anchor, features) = shared, own
        heads = modulations(features.flatten(0, 1), weight, offset, len(kernels))
        # Biases and gates are recomputed each time: this takes a fifth of an evaluation, but a twelfth of the memory.
        layers = (
            Layer(w, None, lambda z, b=b, g=g: g * torch.relu(z + b)) for w, (b, g) in zip(kernels, heads, strict=True)
        )
        d = to_channels(x - anchor, self.ndim)
        return anchor + (1 - self.margin) * from_channels(residual_layers(d, layers), x)


class ConditionedRidge(_Conditioned):
    """`ConvexRidge` around an anchor u, with a bias and a gate for every filter and pixel, all from the scan.

    ::

        F(x) = m d + L W^T [ g s(W d + b) ] - (constant),   d = x - u,   L = 2 (1 - m)

    Gates lie in (0, 1), s is nondecreasing with slopes at most 1 and ``|W| <= 1`` is certified: F is the gradient of a
    strongly convex energy for every given scan, with c = 1 as in `ConvexRidge`.

    Args:
        m: monotonicity constant, in (0, 1).
        channels: number of filters.
        size: width of the filters, odd.
        width: channels of the trunk.
        passes: passes of the trunk.
        ndim: axes convolved, 2 or 3.
    """

    def __init__(
        self, m: float = 0.1, channels: int = 64, size: int = 9, width: int = 32, passes: int = 4, ndim: int = 2
    ) -> None:
        super().__init__(ndim, m, channels, width, passes, channels=channels, size=size)
        self.filters = UnitKernel(kernel_init(channels, 2, ndim, size), grid=grid_for(size))
        self.splines = MonotoneSpline(channels)

    @property
    def radius(self) -> int:
        """The half-width of the filters, which are applied twice."""
        return 2 * reach(self.filters.parameters())

    def condition(self, context: ScanContext | None = None) -> Score:
        """F for the scans of `context`: the trunk runs here, and never in the solve."""
        anchor, features = self.features(context)
        shared = (self.filters(), *self.splines.tables(self.ndim), self.head_weight, self.head_bias)
        return Score(self._network, shared, (anchor, features), start=anchor)

    def _network(self, x: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
        (kernel, slopes, breadth, weight, offset), (anchor, features) = shared, own
        ((bias, gate),) = modulations(features.flatten(0, 1), weight, offset, 1)
        d = to_channels(x - anchor, self.ndim)
        layer = Layer(kernel, None, lambda z: gate * spline(z + breadth * bias, slopes, breadth))
        return anchor + (1 - self.margin) * from_channels(residual_layers(d, [layer]), x)


def modulations(features: Tensor, weight: Tensor, offset: Tensor, layers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Bias and gate of each layer: 1 x 1 convolutions of the features with the first and second half of the rows."""
    bias_weights, gate_weights = (half.chunk(layers) for half in weight.chunk(2))
    bias_offsets, gate_offsets = (half.chunk(layers) for half in offset.chunk(2))
    for i in range(layers):
        bias = conv(features, bias_weights[i], bias_offsets[i])
        yield bias, torch.sigmoid(conv(features, gate_weights[i], gate_offsets[i]))


class Trunk(nn.Module):
    """An ordinary CNN with four hidden layers, from two images and the noise level to features and an image update.

    Args:
        width: channels of the hidden layers.
        ndim: axes convolved.
    """

    def __init__(self, width: int, ndim: int) -> None:
        super().__init__()
        pairs = list(itertools.pairwise([5, *[width] * 4]))
        self.weights = nn.ParameterList(kernel_init(b, a, ndim, gain=2**0.5) for a, b in pairs)
        self.biases = nn.ParameterList(torch.zeros(width) for _ in pairs)
        self.last = nn.Parameter(kernel_init(2, width, ndim, gain=0.1))

    @property
    def radius(self) -> int:
        """Radius of the receptive field of the image update, in pixels on every axis."""
        return reach((*self.weights, self.last))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(n, width, ...)`` and the image update ``(n, 2, ...)``."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = torch.relu(conv(x, weight, bias))
        return x, conv(x, self.last)
