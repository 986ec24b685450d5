"""A conditioned score whose conditioning is also Lipschitz: strictly monotone, with a proved data gain."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from resolvent._errors import ModelError
from resolvent._types import Image
from resolvent.monotone.channels import from_channels, kernel_init, per_sample, to_channels
from resolvent.monotone.layers import UnitKernel, reach
from resolvent.monotone.operator import Bound, ScanContext, Score, noise_channel, scanned
from resolvent.monotone.strict import Layer, Strict, rectified, residual_layers
from resolvent.monotone.tiling import in_tiles, recomputed

Look = Callable[[Image], tuple[Image, Tensor]]
"""The stack S as a function of an image, which returns u and ``k f``."""


class CertifiedStack(Strict):
    """A residual stack of the image together with features of the scan; every part that uses the data is Lipschitz.

    ::

        v = DC(0),  v <- DC([S(v)]_{1,2}) for each further pass,  [u, f] = S(v),  DC(v) = (I + lam N)^-1 (v + lam A^H b)
        H(x) = u + (1 - m) [R(x - u, k f)]_{1,2}

    S and R are stacks of residual layers (see `ResidualStack`), hence 1-Lipschitz, R in both arguments together. Each
    pass may have an S of its own, and kernels may be dilated, since aliases come from afar. DC(0) is the linear
    reconstruction; S also sees the noise level, a constant of the scan. So F is m-monotone as with any conditioning,
    and changes with the data by at most K |b_1 - b_2|, whatever A and x are:

    - DC changes by at most ``(|dv| + lam s |db|) / (1 + lam s^2)`` for some singular value s of A, hence by at most
      ``(l + sqrt(l^2 + lam)) / 2 |db|`` if ``|dv| <= l |db|``; S does not enlarge it. From l = 0 this bounds [u, f].
    - H changes by at most ``|du| + (1 - m) sqrt(|du|^2 + k^2 |df|^2)``; with ``|du|^2 + |df|^2 <= l^2 |db|^2`` this is
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
        total = trunks * trunk_layers + layers
        self.convs = nn.ModuleList(UnitKernel(kernel_init(channels, channels, ndim)) for _ in range(total))
        self.biases = nn.ParameterList(torch.zeros(channels) for _ in range(total))

    def conditioning(self, lam: float) -> Bound:
        """K by the formula of the class: proved."""
        return self.bound(lam, self.passes)

    def bound(self, lam: float, steps: int) -> Bound:
        """K after `steps` linear reconstructions, the first from a constant."""
        moved = 0.0
        for _ in range(steps):
            moved = (moved + math.sqrt(moved**2 + lam)) / 2
        a, k = 1 - self.margin, self.emphasis
        inside = k > 1 and k**2 <= (k**2 - 1) * (1 + a**2 * (k**2 - 1))  # the worst |df| is positive
        return Bound(moved * (k * math.sqrt(a**2 + 1 / (k**2 - 1)) if inside else 1 + a), "proved")

    @property
    def radius(self) -> int:
        """The radius of R: half-widths of its kernels, each of which is applied twice."""
        return 2 * reach(self.convs[-self.layers :].parameters(), self.dilations)

    def condition(self, context: ScanContext | None = None) -> Score:
        """F for the scans of `context`: S runs here, and never in the solve.

        For the gradient of a volume, S is evaluated again in the backward pass. Its layers would otherwise take a third
        of the memory of a training step, beside the graph of F for the adjoint solve.
        """
        context = scanned(context)
        kernels = [c() for c in self.convs]
        v, (*before, last) = context.sense, self.looks(context, kernels, anew=self.ndim == 3)
        for look in before:
            v = context.data_consistent(look(v)[0])
        return Score(self.network, self.shared(kernels), last(v), start=v)

    def looks(self, context: ScanContext, kernels: list[Tensor], *, anew: bool) -> list[Look]:
        """The stack S of every pass.

        Args:
            context: the scan; only its noise level, shape and tile are used.
            kernels: the kernels that `convs` return.
            anew: evaluate S again in the backward pass.
        """
        level, deep = 0.1 * (noise_channel(context, self.ndim) + 2), self.trunk_layers  # no larger than an image

        def looking(trunk: list[Layer]) -> Look:
            def stack(v: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
                state = torch.cat([to_channels(v, self.ndim), own[0].flatten(0, 1)], 1)
                return per_sample(residual_layers(state, trunk, keep=len(trunk[0].kernel)), len(v))

            once = recomputed(stack) if anew and context.tile is None else stack
            tiled = in_tiles(once, 2 * reach(kernels[:deep], self.dilations), context.tile)

            def look(v: Image) -> tuple[Image, Tensor]:
                seen = tiled(v, (), (per_sample(level, len(v)),))
                return from_channels(seen[:, :, :2].flatten(0, 1), v), self.emphasis * seen[:, :, 2:]

            return look

        parts = [slice(i, i + deep) for i in range(0, deep * self.trunks, deep)]
        trunks = [rectified(kernels[part], list(self.biases)[part], self.dilations) for part in parts]
        return [looking(trunks[done % self.trunks]) for done in range(self.passes)]

    def shared(self, kernels: list[Tensor]) -> tuple[Tensor, ...]:
        """Kernels and biases of R, in the form that `network` takes."""
        return (*kernels[-self.layers :], *list(self.biases)[-self.layers :])

    def network(self, x: Image, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Image:
        """H of an image, given u and ``k f``."""
        anchor, features = own
        state = torch.cat([to_channels(x - anchor, self.ndim), features.flatten(0, 1)], 1)
        half = len(shared) // 2
        layers = rectified(shared[:half], shared[half:], self.dilations)
        return anchor + (1 - self.margin) * from_channels(residual_layers(state, layers), x)
