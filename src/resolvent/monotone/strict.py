"""Strictly monotone networks without conditioning: monotone for all data, by construction."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from resolvent._errors import ModelError
from resolvent.monotone.channels import from_channels, kernel_init, to_channels
from resolvent.monotone.convolution import conv, conv_adjoint
from resolvent.monotone.layers import UnitKernel, dilation, reach
from resolvent.monotone.operator import Bound, MonotoneOperator, ScanContext, Score, checked_margin, cnn


class Strict(MonotoneOperator):
    """``H = (1 - m) N`` with a 1-Lipschitz network N: ``|F - I|_Lip <= 1 - m``."""

    def __init__(self, ndim: int, m: float, **config: float) -> None:
        super().__init__(ndim, m=m, **config)
        self.margin = checked_margin(m)

    @property
    def m(self) -> Bound:
        """Proved by construction: every layer is divided by its certified norm, and H scaled by ``1 - m``."""
        return Bound(self.margin, "proved")


class ProductNetwork(Strict):
    """MOL-SN of the paper: convolutions of certified norm 1 with ReLU between, ``H = (1 - m) conv_L ... relu conv_1``.

    A composition of 1-Lipschitz maps is 1-Lipschitz. The gradient fades with depth: every layer is divided by the norm
    of its worst direction, which costs image quality.

    Args:
        m: monotonicity constant, in (0, 1).
        channels: width of the hidden layers.
        depth: number of convolutions.
        ndim: axes convolved, 2 or 3.

    Source: A. Pramanik, M. B. Zimmerman, M. Jacob, IEEE TCI 9:260-275 (2023), with a certified norm in place of
    power iteration, the factor ``1 - m``, and normalisation outside the solve.
    """

    def __init__(self, m: float = 0.1, channels: int = 64, depth: int = 5, ndim: int = 2) -> None:
        super().__init__(ndim, m, channels=channels, depth=depth)
        widths = [2, *[channels] * (depth - 1), 2]
        self.convs = nn.ModuleList(UnitKernel(kernel_init(b, a, ndim)) for a, b in itertools.pairwise(widths))
        self.biases = nn.ParameterList(torch.zeros(b) for b in widths[1:])

    @property
    def radius(self) -> int:
        """Half-widths of all kernels."""
        return reach(self.convs.parameters())

    def condition(self, context: ScanContext | None = None) -> Score:
        """F with normalised weights."""
        shared = tuple(t for pair in zip(self.convs, self.biases, strict=True) for t in (pair[0](), pair[1]))
        gain, ndim = 1 - self.margin, self.ndim

        def network(x: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
            return gain * cnn(x, shared, ndim)

        return Score(network, shared)


class ResidualStack(Strict):
    """1-Lipschitz residual layers, ``z <- z - 2 W^T relu(W z + c)`` with ``|W| <= 1`` certified, and H = (1 - m) N.

    The nonlinearity changes by ``s = D W dz`` with D diagonal in [0, 1], so ``|dz - 2 W^T s|^2 <= |dz|^2 -
    4 <W dz, s> + 4 |s|^2 <= |dz|^2``, since ``s_i^2 <= s_i (W dz)_i``. A layer can be the identity, so deep stacks
    preserve the gradient. The image is lifted to `channels` by zeros; the kernels can absorb any orthonormal lift.

    Args:
        m: monotonicity constant, in (0, 1).
        channels: width.
        layers: number of residual layers.
        ndim: axes convolved, 2 or 3.

    Source: layers after A. Araujo et al., ICLR 2023, and B. Prach, C. Lampert, ECCV 2022.
    """

    def __init__(self, m: float = 0.1, channels: int = 24, layers: int = 8, ndim: int = 2) -> None:
        super().__init__(ndim, m, channels=checked_width(channels), layers=layers)
        self.convs = nn.ModuleList(UnitKernel(kernel_init(channels, channels, ndim)) for _ in range(layers))
        self.biases = nn.ParameterList(torch.zeros(channels) for _ in range(layers))

    @property
    def radius(self) -> int:
        """Half-widths of all kernels, each of which is applied twice."""
        return 2 * reach(self.convs.parameters())

    def condition(self, context: ScanContext | None = None) -> Score:
        """F with normalised weights."""
        shared = (*(c() for c in self.convs), *self.biases)
        gain, ndim = 1 - self.margin, self.ndim

        def network(x: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
            half = len(shared) // 2
            layers = rectified(shared[:half], shared[half:])
            return gain * from_channels(residual_layers(to_channels(x, ndim), layers), x)

        return Score(network, shared)


def checked_width(channels: int) -> int:
    """Return `channels` if a complex image fits into them."""
    if channels < 2:
        raise ModelError(f"channels is {channels}; the lift of a complex image needs at least 2.")
    return channels


class Layer(NamedTuple):
    """A kernel W of norm at most 1, a bias b for its channels, and a componentwise s with slopes in [0, 1].

    The points of the kernel lie `dilation` pixels apart.
    """

    kernel: Tensor
    bias: Tensor | None
    s: Callable[[Tensor], Tensor]
    dilation: int = 1


def residual_layers(d: Tensor, layers: Iterable[Layer], *, keep: int = 2) -> Tensor:
    """First `keep` channels of z: d lifted by zeros, then ``z <- z - 2 W^T s(W z + b)`` for every layer (W, b, s).

    1-Lipschitz in d. The lift is to the width of the first kernel. The results of convolutions are overwritten in
    place: a new tensor of features for each operation would take a third of the time.
    """
    z = d
    for kernel, bias, s, apart in layers:
        if z.shape[1] < kernel.shape[1]:
            z = torch.nn.functional.pad(z, (0, 0) * (d.ndim - 2) + (0, kernel.shape[1] - d.shape[1]))
        z = conv_adjoint(s(conv(z, kernel, bias, apart)), -2 * kernel, apart).add_(z)
    return z[:, :keep]


def rectified(kernels: Iterable[Tensor], biases: Iterable[Tensor], dilations: int = 1) -> list[Layer]:
    """Layers with ``s = relu``, and with dilations from `dilation`."""
    pairs = enumerate(zip(kernels, biases, strict=True))
    return [Layer(kernel, bias, torch.relu_, dilation(i, dilations)) for i, (kernel, bias) in pairs]
