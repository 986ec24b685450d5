"""A U-Net that corrects the linear reconstruction."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, max_pool3d, pad

from resolvent._types import Image
from resolvent.mol.baselines.network import Baseline, noise_level
from resolvent.mol.units import UnitScan
from resolvent.monotone.channels import from_channels, to_channels


class UNet(Baseline):
    """Post-processing: ``x = s + U([s, noise])``, s the SENSE image, U a U-Net, without further data consistency.

    Sizes that U cannot halve are padded with zeros. Nothing is proved: U may make up anything.

    Args:
        channels: width at full resolution; it doubles with each level.
        levels: how often the image is halved.
        lam: weight of the data in s at the start of training, positive.
        normalise: work in the units of the scan, see `ScanUnits`.
        ndim: axes convolved, 2 or 3.

    Source: O. Ronneberger, P. Fischer, T. Brox, MICCAI 2015; K. H. Jin et al., IEEE TIP 26:4509-4522 (2017), for the
    residual; J. Zbontar et al., fastMRI, arXiv 1811.08839, for MRI.

    >>> import torch
    >>> from resolvent import SENSE
    >>> A = SENSE(torch.ones(1, 1, 9, 7, dtype=torch.complex64), torch.ones(9, 7))
    >>> y = torch.randn(1, 1, 9, 7, dtype=torch.complex64)
    >>> UNet(channels=4, levels=2)(y, A, noise=0.01).shape
    torch.Size([1, 9, 7])
    """

    def __init__(
        self,
        channels: int = 32,
        levels: int = 3,
        lam: float = 100.0,
        normalise: bool = False,
        ndim: int = 2,
    ) -> None:
        super().__init__(lam, normalise=normalise, ndim=ndim, channels=channels, levels=levels)
        widths = [channels * 2**level for level in range(levels + 1)]
        upsample, conv = (nn.ConvTranspose2d, nn.Conv2d) if ndim == 2 else (nn.ConvTranspose3d, nn.Conv3d)
        self.down = nn.ModuleList(_pair(a, b, ndim) for a, b in zip([3, *widths], widths, strict=False))
        self.widen = nn.ModuleList(upsample(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.up = nn.ModuleList(_pair(2 * w, w, ndim) for w in widths[:-1])
        self.last = conv(channels, 2, 1)
        with torch.no_grad():
            self.last.weight.mul_(0.1)  # a small residual at first

    def reconstruct(self, scan: UnitScan) -> Image:
        """The corrected image."""
        x = scan.context.sense
        return x + from_channels(
            self._correction(torch.cat([to_channels(x, self.ndim), noise_level(scan, self.ndim)], 1)), x
        )

    def _correction(self, z: Tensor) -> Tensor:
        sizes, levels = z.shape[-self.ndim :], len(self.up)
        z = pad(z, [p for size in reversed(sizes) for p in (0, -size % 2**levels)])
        pool = max_pool2d if self.ndim == 2 else max_pool3d
        kept = []
        for level, pair in enumerate(self.down):
            z = pair(pool(z, 2) if level else z)
            kept.append(z)
        for level in reversed(range(levels)):
            z = self.up[level](torch.cat([kept[level], self.widen[level](z)], 1))
        return self.last(z)[(..., *map(slice, sizes))]


def _pair(inp: int, out: int, ndim: int) -> nn.Sequential:
    """Two convolutions, each followed by ReLU."""
    conv = nn.Conv2d if ndim == 2 else nn.Conv3d
    layers = conv(inp, out, 3, padding=1), conv(out, out, 3, padding=1)
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU())
