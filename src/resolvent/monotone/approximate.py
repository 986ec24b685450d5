"""Networks that are monotone by training at best: their constants are estimates."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from resolvent._errors import ModelError
from resolvent.monotone.channels import kernel_init
from resolvent.monotone.layers import reach
from resolvent.monotone.operator import Bound, MonotoneOperator, ScanContext, Score, checked_margin, cnn


class PlainCNN(MonotoneOperator):
    """The MOL-LR network of the paper: convolutions with biases and ReLU between, ``F = I - H``, ``H(x) = cnn(x)``.

    Nothing bounds its Lipschitz constant: m is the value that training aimed at, an estimate and not a guarantee. The
    equation may have several solutions, and a solve may not converge.

    Args:
        m: the monotonicity constant aimed at in training.
        channels: width of the hidden layers.
        depth: number of convolutions.
        ndim: axes convolved, 2 or 3.
        identity: g, for the initial weights: if positive, four channels of each hidden layer carry the image at first,
            and ``H(x)`` is ``g x`` plus a little. From random kernels training tends to end at H = 0.

    Source: A. Pramanik, M. B. Zimmerman, M. Jacob, IEEE TCI 9:260-275 (2023).
    """

    def __init__(
        self, m: float = 0.1, channels: int = 64, depth: int = 5, ndim: int = 2, identity: float = 0.0
    ) -> None:
        super().__init__(ndim, m=m, channels=channels, depth=depth)  # `identity` only sets the initial weights
        if identity and (channels < 4 or depth < 2):
            raise ModelError(f"{channels} channels and {depth} layers cannot carry an image; take 4 and 2 at least.")
        self.margin = checked_margin(m)
        widths = [2, *[channels] * (depth - 1), 2]
        pairs = list(itertools.pairwise(widths))
        self.weights = nn.ParameterList(kernel_init(b, a, ndim) for a, b in pairs)
        self.biases = nn.ParameterList(torch.zeros(b) for _, b in pairs)
        if identity:
            carry(list(self.weights), identity)

    @property
    def m(self) -> Bound:
        """The value that training aimed at: an estimate."""
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


SIGNS = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
"""Weights of the real and the imaginary part in the carrying channels: a ReLU keeps the positive part of each."""


@torch.no_grad()
def carry(kernels: list[Tensor], gain: float) -> None:
    """Let the first four hidden channels carry the image to the output, times `gain`; scale the others by a tenth."""
    first, *inner, last = kernels
    signs, middle = first.new_tensor(SIGNS), (..., *(size // 2 for size in first.shape[2:]))
    first[:4] = 0
    first[:4][middle] = signs
    for kernel in inner:
        kernel[:4] = 0
        kernel[:4, :4][middle] = torch.eye(4)
    last *= 0.1
    last[:, :4] = 0
    last[:, :4][middle] = gain * signs.T
