"""The conditioned residual stack: strictly monotone for every scan, with most of an unconstrained network's quality."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from resolvent._errors import ModelError
from resolvent.monotone.channels import from_channels, kernel_init, per_sample, to_channels
from resolvent.monotone.layers import UnitKernel
from resolvent.monotone.operator import ScanContext, Score, Tier, conv
from resolvent.monotone.strict import _Strict, lift_fits, residual_layers

QUIET = 1e-3
"""Noise level, over the image scale, below which the trunk sees no difference."""


class ConditionedStack(_Strict):
    """``H(x) = u + (1 - m) N(x - u)``, N a residual stack whose biases and gates, like u, come from the scan.

    Once per scan an ordinary network, the trunk, looks at the linear reconstruction and gives an anchor image u, and
    for every layer and pixel a bias ``b_l`` and a gate ``g_l`` in (0, 1). Then, in x alone::

        z_0 = [d, 0],   z_l = z_{l-1} - 2 W_l^T [ g_l relu(W_l z_{l-1} + b_l) ],   N(d) = first two channels of z_L

    with ``|W_l| <= 1`` certified. N is 1-Lipschitz whatever the trunk gives (see `ResidualStack`), so for every given
    scan F is m-monotone: one solution, convergence and the distance certificate are proved. What is not proved is how
    u, b and g move with the data; a bound of the gain from data to image holds with the conditioning held.

    The trunk makes `passes` passes with shared weights, each ``u <- DC(u + f(u, A^H b, noise))`` but the last, which
    keeps its output; DC is the data-consistency step ``(I + lam N)^-1 (u + lam A^H b)``.

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
        super().__init__(ndim, m, channels=lift_fits(channels), layers=layers, width=width, passes=passes)
        self.passes = passes
        self.convs = nn.ModuleList(UnitKernel(kernel_init(channels, channels, ndim)) for _ in range(layers))
        self.trunk = Trunk(width, ndim)
        self.head_weight = nn.Parameter(0.1 * kernel_init(2 * layers * channels, width, ndim, size=1))
        gates_open = torch.cat([torch.zeros(layers * channels), torch.full((layers * channels,), -1.0)])
        self.head_bias = nn.Parameter(gates_open)

    @property
    def tier(self) -> Tier:
        """Proved for each scan with its conditioning."""
        return "per-scan"

    def condition(self, context: ScanContext | None = None) -> Score:
        """F for the scans of `context`: the trunk runs here, and never in the solve."""
        if context is None:
            raise ModelError("a conditioned score needs a scan. Use it in MOL, or pass a ScanContext to condition().")
        batch, anchor = context.sense.shape[0], context.sense
        zero_filled = to_channels(context.zero_filled, self.ndim)
        noise = context.noise.clamp_min(QUIET).log10().repeat_interleave(zero_filled.shape[0] // batch)
        noise = noise.reshape(-1, 1, *(1,) * self.ndim).expand(-1, 1, *zero_filled.shape[2:])
        features = zero_filled
        for remaining in reversed(range(self.passes)):
            seen = torch.cat([to_channels(anchor, self.ndim), zero_filled, noise.to(zero_filled.dtype)], 1)
            features, change = self.trunk(seen)
            anchor = anchor + from_channels(change, anchor)
            if remaining:
                anchor = context.data_consistent(anchor)
        shared = (*(c() for c in self.convs), self.head_weight, self.head_bias)
        return Score(self._network, shared, (anchor, per_sample(features, batch)))

    def _network(self, x: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
        (*kernels, head_weight, head_bias), (anchor, features) = shared, own
        features = features.flatten(0, 1)
        bias_weights, gate_weights = (half.chunk(len(kernels)) for half in head_weight.chunk(2))
        bias_offsets, gate_offsets = (half.chunk(len(kernels)) for half in head_bias.chunk(2))

        def modulation(layer: int) -> tuple[Tensor, Tensor]:
            # Made anew in every evaluation: a fifth of its time, and a twelfth of the memory of keeping them.
            bias = conv(features, bias_weights[layer], bias_offsets[layer])
            return bias, torch.sigmoid(conv(features, gate_weights[layer], gate_offsets[layer]))

        d = to_channels(x - anchor, self.ndim)
        return anchor + (1 - self.margin) * from_channels(residual_layers(d, kernels, modulation), x)


class Trunk(nn.Module):
    """An ordinary CNN: five images-like channels to features, and to a change of the image.

    Args:
        width: channels of the hidden layers.
        ndim: axes convolved.
        depth: hidden layers.
    """

    def __init__(self, width: int, ndim: int, depth: int = 4) -> None:
        super().__init__()
        widths = [5, *[width] * depth]
        pairs = itertools.pairwise(widths)
        self.weights = nn.ParameterList(2**0.5 * kernel_init(b, a, ndim) for a, b in pairs)
        self.biases = nn.ParameterList(torch.zeros(width) for _ in range(depth))
        self.last = nn.Parameter(0.1 * kernel_init(2, width, ndim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(n, width, ...)`` and the change of the image ``(n, 2, ...)``."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = torch.relu(conv(x, weight, bias))
        return x, conv(x, self.last)
