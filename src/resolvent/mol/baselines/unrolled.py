"""Unrolled networks: a fixed number of steps, trained from end to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from resolvent._types import Image
from resolvent.mol.baselines.network import Baseline, Denoiser, noise_level
from resolvent.mol.equation import resolvent
from resolvent.mol.units import UnitScan
from resolvent.monotone import CertifiedStack


class MoDL(Baseline):
    """Unrolled reconstruction with shared weights: K times ``x <- (I + lam N)^-1 (H(x) + lam A^H b)``, from SENSE.

    H is a residual network of the image and the noise level, ``H(x) = x + cnn([x, noise])``. The step is that for the
    equation ``lam A^H (A x - b) + x - H(x) = 0``, stopped after K steps: the result depends on K and on the start, and
    nothing bounds its distance to a solution, if there is one. Memory grows with K.

    Args:
        channels: width of the hidden layers.
        depth: number of convolutions.
        steps: number K of steps.
        lam: weight of the data at the start of training, positive.
        normalise: work in the units of the scan, see `ScanUnits`.
        ndim: axes convolved, 2 or 3.

    Source: H. K. Aggarwal, M. P. Mani, M. Jacob, IEEE TMI 38:394-405 (2019), eqs. 9-12.

    >>> import torch
    >>> from resolvent import SENSE
    >>> A = SENSE(torch.ones(1, 1, 8, 8, dtype=torch.complex64), torch.ones(8, 8))
    >>> y = torch.randn(1, 1, 8, 8, dtype=torch.complex64)
    >>> MoDL(channels=4, depth=2, steps=2)(y, A, noise=0.01).shape
    torch.Size([1, 8, 8])
    """

    def __init__(
        self,
        channels: int = 40,
        depth: int = 5,
        steps: int = 10,
        lam: float = 100.0,
        normalise: bool = False,
        ndim: int = 2,
    ) -> None:
        sizes = {"channels": channels, "depth": depth, "steps": steps}
        super().__init__(lam, normalise=normalise, ndim=ndim, **sizes)
        self.steps = steps
        self.denoiser = Denoiser(channels, depth, ndim)

    def reconstruct(self, scan: UnitScan) -> Image:
        """The K-th iterate."""
        level = noise_level(scan, self.ndim)
        return _unrolled(scan, lambda x: x + self.denoiser(x, level), self.steps, self.linear_tol)


class UnrolledStack(Baseline):
    """`MoDL` with the network of the strict models but free kernels: the difference is the cost of strictness.

    H is that of `CertifiedStack`, ``H(x) = u + (1 - m) [R(x - u, k f)]_{1,2}`` with u and f of the scan, computed once;
    but nothing bounds its kernels, so nothing bounds H. With the kernels of a strict model it is that model, stopped
    after K steps of its plain iteration.

    Args:
        steps: number K of steps.
        lam: weight of the data at the start of training, positive.
        normalise: work in the units of the scan, see `ScanUnits`.
        ndim: axes convolved, 2 or 3.
        stack: the other arguments of `CertifiedStack`.

    >>> UnrolledStack(channels=8, layers=2, steps=10).config["steps"]
    10
    """

    def __init__(
        self,
        steps: int = 10,
        lam: float = 100.0,
        normalise: bool = False,
        ndim: int = 2,
        **stack: Any,
    ) -> None:
        score = CertifiedStack(ndim=ndim, **stack)
        sizes = {key: value for key, value in score.config.items() if key != "ndim"}
        super().__init__(lam, normalise=normalise, ndim=ndim, steps=steps, **sizes)
        shapes_only = next(score.parameters()).is_meta  # kernels on the meta device have no norm
        kernels = (unit.get_parameter("weight") if shapes_only else unit() for unit in score.convs)
        score.convs = nn.ModuleList(FreeKernel(kernel.detach()) for kernel in kernels)
        self.steps, self.score = steps, score

    def reconstruct(self, scan: UnitScan) -> Image:
        """The K-th iterate."""
        return _unrolled(scan, self.score.condition(scan.context).H, self.steps, self.linear_tol)


class FreeKernel(nn.Module):
    """A convolution kernel without normalisation, in place of a `UnitKernel`."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self) -> Tensor:
        """The weight."""
        return self.weight


def _unrolled(scan: UnitScan, H: Callable[[Image], Image], steps: int, tol: float) -> Image:
    """``x <- (I + lam N)^-1 (H(x) + lam A^H b)``, `steps` times from SENSE."""
    x = scan.context.sense
    for _ in range(steps):
        x = resolvent(scan.A, scan.lam, scan.seen(H(x)) + scan.data, tol=tol, start=x.detach())
    return x


class ADMMNet(Baseline):
    """Unrolled ADMM with a scaled dual image u: K times, from SENSE and u = 0.

    ::

        z <- D_k(x + u),    u <- u + e_k (x - z),    x <- (I + lam N)^-1 (z - u + lam A^H b).

    ``D_k(v) = v + cnn_k([v, noise])`` takes the place of the proximal map of the prior in ADMM; e_k is learned, 1 at
    the start. Nothing makes the steps converge, and nothing is proved. Memory grows with K.

    Args:
        channels: width of the hidden layers.
        depth: number of convolutions of each network.
        steps: number K of steps.
        shared: one network for all steps instead of one for each.
        lam: weight of the data at the start of training, positive.
        normalise: work in the units of the scan, see `ScanUnits`.
        ndim: axes convolved, 2 or 3.

    Source: Y. Yang, J. Sun, H. Li, Z. Xu, NIPS 2016, and IEEE PAMI 42:521-538 (2020), whose stages have their own
    weights and multiplier rates; here a network replaces the filters and splines of a stage.

    >>> len(ADMMNet(channels=4, depth=2, steps=3).denoisers), len(ADMMNet(4, 2, 3, shared=True).denoisers)
    (3, 1)
    """

    def __init__(
        self,
        channels: int = 40,
        depth: int = 5,
        steps: int = 10,
        shared: bool = False,
        lam: float = 100.0,
        normalise: bool = False,
        ndim: int = 2,
    ) -> None:
        sizes = {"channels": channels, "depth": depth, "steps": steps, "shared": shared}
        super().__init__(lam, normalise=normalise, ndim=ndim, **sizes)
        self.denoisers = nn.ModuleList(Denoiser(channels, depth, ndim) for _ in range(1 if shared else steps))
        self.rates = nn.Parameter(torch.ones(steps))

    def reconstruct(self, scan: UnitScan) -> Image:
        """The K-th iterate."""
        x, level = scan.context.sense, noise_level(scan, self.ndim)
        u = torch.zeros_like(x)
        for k, rate in enumerate(self.rates):
            v = x + u
            z = scan.seen(v + self.denoisers[k % len(self.denoisers)](v, level))
            u = u + rate * (x - z)
            x = resolvent(scan.A, scan.lam, z - u + scan.data, tol=self.linear_tol, start=x.detach())
        return x
