"""A conditioned score whose conditioning is Lipschitz, too: strictly monotone, with a proved data gain."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from resolvent._errors import ModelError
from resolvent.monotone.channels import from_channels, kernel_init, per_sample, to_channels
from resolvent.monotone.layers import UnitKernel, reach
from resolvent.monotone.operator import Bound, ScanContext, Score, noise_channel
from resolvent.monotone.strict import Layer, _Strict, rectified, residual_layers
from resolvent.monotone.tiling import Network, in_tiles, recomputed


class CertifiedStack(_Strict):
    """A residual stack of the image and of features of the scan together; every part that sees the data is Lipschitz.

    ::

        v = DC(0),  v <- DC([S(v)]_{1,2}) for each further pass,  [u, f] = S(v),  DC(v) = (I + lam N)^-1 (v + lam A^H b)
        H(x) = u + (1 - m) [R(x - u, k f)]_{1,2}

    S and R are stacks of residual layers (see `ResidualStack`), hence 1-Lipschitz, R in both arguments together. Every
    pass may have an S of its own, and kernels may have holes, since aliases come from afar. DC(0) is the linear
    reconstruction; S also sees the noise level, a constant of the scan. So F is m-monotone as with any conditioning,
    and moves by at most K |b_1 - b_2| with the data, whatever A and x are:

    - DC moves by at most ``(|dv| + lam s |db|) / (1 + lam s^2)`` for some singular value s of A, hence by at most
      ``(l + sqrt(l^2 + lam)) / 2 |db|`` if ``|dv| <= l |db|``; S does not enlarge it. From l = 0 that bounds [u, f].
    - H moves by at most ``|du| + (1 - m) sqrt(|du|^2 + k^2 |df|^2)``; with ``|du|^2 + |df|^2 <= l^2 |db|^2`` that is
      at most ``l k sqrt((1 - m)^2 + 1 / (k^2 - 1)) |db|``, or ``(2 - m) l |db|`` where k is near 1.

    Args:
        m: monotonicity constant, in (0, 1).
        channels: width of both stacks.
        layers: number of layers of R.
        trunk_layers: number of layers of S.
        passes: number of data-consistency steps.
        emphasis: k, at least 1.
        dilations: the points of the kernels of layer i of a stack lie ``2^(i mod dilations)`` pixels apart; 1 in 3-D.
        trunks: number of stacks S: 1, or one for each pass.
        ndim: axes convolved, 2 or 3.
    """

    def __init__(
        self,
        m: float = 0.1,
        channels: int = 24,
        layers: int = 5,
        trunk_layers: int = 4,
        passes: int = 1,
        emphasis: float = 2.0,
        dilations: int = 1,
        trunks: int = 1,
        ndim: int = 2,
    ) -> None:
        stacks = {"layers": layers, "trunk_layers": trunk_layers, "dilations": dilations, "trunks": trunks}
        super().__init__(ndim, m, channels=channels, emphasis=emphasis, passes=passes, **stacks)
        if channels < 3:
            raise ModelError(f"channels is {channels}; image and noise level need at least 3.")
        if not 1 <= emphasis < math.inf:
            raise ModelError(f"emphasis is {emphasis}; it must be a number of at least 1.")
        if trunks not in (1, passes):
            raise ModelError(f"trunks is {trunks}; there is one for all passes, or one for each of the {passes}.")
        if dilations < 1 or (dilations > 1 and ndim == 3):
            raise ModelError(f"dilations is {dilations}; it must be at least 1, and 1 for kernels of three axes.")
        self.layers, self.trunk_layers, self.passes, self.emphasis = layers, trunk_layers, passes, emphasis
        self.dilations, self.trunks = dilations, trunks
        self.convolved = ndim  # axes of a kernel
        total = trunks * trunk_layers + layers
        self.convs = nn.ModuleList(UnitKernel(kernel_init(channels, channels, ndim)) for _ in range(total))
        self.biases = nn.ParameterList(torch.zeros(channels) for _ in range(total))

    def conditioning(self, lam: float) -> Bound:
        """K of the class's formula: proved."""
        moved = 0.0
        for _ in range(self.passes):
            moved = (moved + math.sqrt(moved**2 + lam)) / 2
        a, k = 1 - self.margin, self.emphasis
        inside = k > 1 and k**2 <= (k**2 - 1) * (1 + a**2 * (k**2 - 1))  # the worst |df| is positive
        return Bound(moved * (k * math.sqrt(a**2 + 1 / (k**2 - 1)) if inside else 1 + a), "proved")

    @property
    def radius(self) -> int:
        """That of R: half-widths of its kernels, each of which is applied twice."""
        return 2 * reach(self.convs[-self.layers :].parameters(), self.dilations)

    def condition(self, context: ScanContext | None = None) -> Score:
        """F for the scans of `context`: S runs here, and never in the solve.

        For the gradient S of a volume is evaluated once more, in the backward pass: its layers would be a third of all
        that a training step holds, beside the graph of F that serves the adjoint solve.
        """
        if context is None:
            raise ModelError("a conditioned score needs a scan. Use it in MOL, or pass a ScanContext to condition().")
        return self._conditioned(context, [c() for c in self.convs])

    def _conditioned(self, context: ScanContext, kernels: list[Tensor]) -> Score:
        biases = list(self.biases)
        deep, width = self.trunk_layers, kernels[0].shape[1]
        parts = [slice(i, i + deep) for i in range(0, deep * self.trunks, deep)]
        trunks = [rectified(kernels[part], biases[part], self.dilations) for part in parts]
        v, level = context.sense, 0.1 * (noise_channel(context, self.convolved) + 2)  # no larger than an image

        def looking(trunk: list[Layer]) -> Network:
            def look(v: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
                state = torch.cat([to_channels(v, self.convolved), own[0].flatten(0, 1)], 1)
                return per_sample(residual_layers(state, trunk, keep=width), len(v))

            once = recomputed(look) if self.ndim == 3 and context.tile is None else look
            return in_tiles(once, 2 * reach(kernels[:deep], self.dilations), context.tile)

        for done in range(self.passes):
            v = context.data_consistent(v) if done else v
            seen = looking(trunks[done % self.trunks])(v, (), (per_sample(level, len(v)),))
            v = from_channels(seen[:, :, :2].flatten(0, 1), v)
        features, rest = self.emphasis * seen[:, :, 2:], slice(-self.layers, None)
        return Score(self._network, (*kernels[rest], *biases[rest]), (v, features))

    def _network(self, x: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
        anchor, features = own
        state = torch.cat([to_channels(x - anchor, self.convolved), features.flatten(0, 1)], 1)
        half = len(shared) // 2
        layers = rectified(shared[:half], shared[half:], self.dilations)
        return anchor + (1 - self.margin) * from_channels(residual_layers(state, layers), x)
