"""Networks that are monotone by training at best: what is said of them is an estimate."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from resolvent.monotone.channels import kernel_init
from resolvent.monotone.layers import reach
from resolvent.monotone.operator import Bound, MonotoneOperator, ScanContext, Score, cnn


class PlainCNN(MonotoneOperator):
    """The paper's MOL-LR network: convolutions with biases and ReLU between, ``F = I - H``, ``H(x) = cnn(x)``.

    Nothing bounds its Lipschitz constant: m is the value that it was trained for, an estimate and no guarantee. The
    equation may have several solutions, and a solve may not converge.

    Args:
        m: the monotonicity constant aimed at in training.
        channels: width of the hidden layers.
        depth: number of convolutions.
        ndim: axes convolved, 2 or 3.

    Source: A. Pramanik, M. B. Zimmerman, M. Jacob, IEEE TCI 9:260-275 (2023).
    """

    def __init__(self, m: float = 0.1, channels: int = 64, depth: int = 5, ndim: int = 2) -> None:
        super().__init__(ndim, m=m, channels=channels, depth=depth)
        self.margin = m
        widths = [2, *[channels] * (depth - 1), 2]
        pairs = list(itertools.pairwise(widths))
        self.weights = nn.ParameterList(kernel_init(b, a, ndim) for a, b in pairs)
        self.biases = nn.ParameterList(torch.zeros(b) for _, b in pairs)

    @property
    def m(self) -> Bound:
        """What training aimed at: an estimate."""
        return Bound(self.margin, "estimated")

    @property
    def radius(self) -> int:
        """Half-widths of all kernels."""
        return reach(self.weights)

    def condition(self, context: ScanContext | None = None) -> Score:
        """F; nothing to normalise."""
        ndim = self.ndim

        def network(x: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
            return cnn(x, shared, ndim)

        return Score(network, tuple(t for pair in zip(self.weights, self.biases, strict=True) for t in pair))
