"""`Baseline`: the common base of learned reconstructions about which nothing is proved."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from resolvent._errors import ModelError
from resolvent._types import Image, KSpace
from resolvent.linop import LinearOperator
from resolvent.mol.units import ScanUnits, UnitScan, check_signal, full_precision
from resolvent.monotone.channels import from_channels, to_channels
from resolvent.monotone.operator import noise_channel
from resolvent.solve import along


class Baseline(ScanUnits, ABC):
    """A learned reconstruction that is called like `MOL`, in the same units, but without a certified equation.

    Args:
        lam: weight of the data at the start of training.
        normalise: work in the units of the scan, see `ScanUnits`.
        ndim: axes convolved, 2 or 3 (with time as the first for 2-D+time).
        config: the other arguments of the constructor: JSON numbers.

    Attributes:
        config: the arguments that build the same network again; lam is one of the weights.
        tier: "none": nothing is proved.
    """

    tier = "none"

    def __init__(self, lam: float, *, normalise: bool, ndim: int, **config: float) -> None:
        super().__init__(lam, normalise=normalise)
        if ndim not in (2, 3):
            raise ModelError(f"ndim is {ndim}; a network convolves 2 or 3 axes. Pass ndim=2 or ndim=3.")
        self.ndim = ndim
        self.config: dict[str, float] = {"normalise": normalise, "ndim": ndim, **config}

    @abstractmethod
    def reconstruct(self, scan: UnitScan) -> Image:
        """The image in the units of the model."""

    @full_precision
    def forward(self, y: KSpace, A: LinearOperator, noise: Tensor | float | None = None) -> Image:
        """The image, differentiable in weights, lam, y and maps.

        Args:
            y: measurements ``(batch, coil, *lead, *spatial)``.
            A: the physics.
            noise: standard deviation of the complex noise of a sample of y; estimated from y by default.

        Raises:
            DataError: y is not finite, or zero.
        """
        check_signal(y)
        scan = self.in_units(y, A, noise, ndim=self.ndim)
        x = scan.seen(self.reconstruct(scan))
        return along(scan.scale, x) * x


class Denoiser(nn.Module):
    """Convolutions with ReLU between, from an image and the noise level of its scan to an image, ``(x, level) -> N``.

    Args:
        channels: width of the hidden layers.
        depth: number of convolutions, at least 2.
        ndim: axes convolved, 2 or 3.
    """

    def __init__(self, channels: int, depth: int, ndim: int) -> None:
        super().__init__()
        if depth < 2:
            raise ModelError(f"depth is {depth}; a network of convolutions with ReLU between has at least 2.")
        self.ndim = ndim
        convolution = nn.Conv2d if ndim == 2 else nn.Conv3d
        widths = [3, *[channels] * (depth - 1), 2]
        convs = [convolution(a, b, 3, padding=1) for a, b in itertools.pairwise(widths)]
        with torch.no_grad():
            for conv in convs:
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            convs[-1].weight.mul_(0.1)  # a small residual at first
        self.convs = nn.ModuleList(convs)

    def forward(self, x: Image, level: Tensor) -> Image:
        """N of a complex image ``(batch, *lead, *spatial)`` and of its `level` (see `noise_level`)."""
        layout = torch.channels_last if self.ndim == 2 else torch.channels_last_3d  # the fastest for convolutions
        z = torch.cat([to_channels(x, self.ndim), level], 1).contiguous(memory_format=layout)
        for i, conv in enumerate(self.convs):
            z = conv(torch.relu(z) if i else z)
        return from_channels(z, x)


def noise_level(scan: UnitScan, ndim: int) -> Tensor:
    """``2 + log10`` of the noise level as a constant channel: -1 for hardly any noise, 1 for a tenth of the image."""
    return 2 + noise_channel(scan.context, ndim)
