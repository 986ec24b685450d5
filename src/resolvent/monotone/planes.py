"""A network of planes for volumes: strictly monotone in 3-D, with the weights of a 2-D network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from resolvent._errors import ModelError
from resolvent._types import Image
from resolvent.monotone.certified import CertifiedStack
from resolvent.monotone.operator import Bound, ScanContext, Score, scanned
from resolvent.monotone.strict import Strict


class CertifiedPlanes(Strict):
    """The mean of a 2-D `CertifiedStack` over the planes of a volume across each of its three axes.

    ::

        v = DC(0),  v <- DC(u) for each further pass,  [u_a, f_a] = P_a^T S_a(P_a v),  u = mean_a u_a
        H(x) = u + (1 - m) mean_a P_a^T [R_a(P_a (x - u), k P_a f_a)]_{1,2}

    P_a splits a volume into its planes across axis a, a permutation of its voxels. Means of 1-Lipschitz maps are
    1-Lipschitz, so F is m-monotone; and since ``|du|^2 + mean_a |df_a|^2 <= l^2 |db|^2``, the formula for K also holds:
    all constants are those of the 2-D stack. Every voxel lies in three planes, whose errors differ.

    Here S_a and R_a are the same for all axes; the weights of a 2-D model can be used unchanged.

    Args:
        m: monotonicity constant, in (0, 1).
        ndim: must be 3.
        stack: the other arguments of `CertifiedStack`.
    """

    network_of: ClassVar = (0, 0, 0)
    """For each axis, the index of the network for the planes across it."""

    def __init__(self, m: float = 0.1, *, ndim: int = 3, **stack: Any) -> None:
        if ndim != 3:
            raise ModelError(f"ndim is {ndim}; planes are those of a volume. Pass ndim=3, or take CertifiedStack.")
        stacks = [CertifiedStack(m, ndim=2, **stack) for _ in set(self.network_of)]
        super().__init__(ndim, m, **{key: v for key, v in stacks[0].config.items() if key not in ("ndim", "m")})
        self.stacks = nn.ModuleList(stacks)

    def conditioning(self, lam: float) -> Bound:
        """K of a stack: proved."""
        return self._networks[0].conditioning(lam)

    @property
    def radius(self) -> int:
        """The radius of a stack."""
        return self._networks[0].radius

    def start(self, context: ScanContext) -> Image:
        """The image v of the first pass."""
        return context.sense

    def condition(self, context: ScanContext | None = None) -> Score:
        """F for the scans of `context`; every S runs here, and never in the solve."""
        context = scanned(context)
        kernels = [[c() for c in stack.convs] for stack in self._networks]
        looks = [stack.looks(_planes_of(context, axis), kernels[i], anew=True) for axis, i, stack in self._across]
        v, (*before, last) = self.start(context), zip(*looks, strict=True)
        for across in before:
            v = context.data_consistent(_mean([look(_planes(v, axis))[0] for axis, look in enumerate(across)]))
        seen, size = [look(_planes(v, axis)) for axis, look in enumerate(last)], v.shape[-3:]
        features = [f.unflatten(1, (-1, size[axis])).movedim(2, axis - 3) for axis, (_, f) in enumerate(seen)]
        shared = [t for stack, unit in zip(self._networks, kernels, strict=True) for t in stack.shared(unit)]
        return Score(self._network, tuple(shared), (_mean([u for u, _ in seen]), *features), start=v)

    def _network(self, x: Image, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Image:
        anchor, *features = own
        size, parts = len(shared) // len(self.stacks), []
        for axis, i, stack in self._across:
            seen = _planes(anchor, axis), features[axis].movedim(axis - 3, 2).flatten(1, 2)
            parts.append(stack.network(_planes(x, axis), shared[i * size : (i + 1) * size], seen))
        return _mean(parts)

    @property
    def _networks(self) -> list[CertifiedStack]:
        return [stack for stack in self.stacks if isinstance(stack, CertifiedStack)]

    @property
    def _across(self) -> list[tuple[int, int, CertifiedStack]]:
        """For each axis, the index and the network of the planes across it."""
        networks = self._networks
        return [(axis, i, networks[i]) for axis, i in enumerate(self.network_of)]


class CertifiedSeries(CertifiedPlanes):
    """`CertifiedPlanes` for a series, with time as first axis: one network for frames, one for planes along time.

    It starts from ``v = DC(w)``, with w in every frame the linear reconstruction of one image from the data of all
    frames. Where masks differ from frame to frame, this is much better than each frame by itself. w changes by at most
    ``sqrt(lam) / 2 |db|``, like DC(0), so K is that of one pass more.
    """

    network_of: ClassVar = (0, 1, 1)

    def conditioning(self, lam: float) -> Bound:
        """K of a stack with one pass more: proved."""
        stack = self._networks[0]
        return stack.bound(lam, stack.passes + 1)

    def start(self, context: ScanContext) -> Image:
        """``DC(w)``."""
        if context.still is None:
            raise ModelError("this score is for series of 2-D frames, (batch, frame, y, x). Take one for volumes here.")
        return context.data_consistent(context.still())


def _planes(x: Tensor, axis: int) -> Tensor:
    """``P_a x``: axis a moved before the two axes of a plane; to the network it is one more lead axis."""
    return x.movedim(axis - 3, -3)


def _mean(parts: list[Tensor]) -> Tensor:
    """``mean_a P_a^T x_a``."""
    z, y, x = (part.movedim(-3, axis - 3) for axis, part in enumerate(parts))
    return (z + y + x) / 3


def _planes_of(context: ScanContext, axis: int) -> ScanContext:
    """The scan with noise level, shape and tile as the 2-D stack needs them."""
    tile = context.tile
    if tile is not None:
        plane = [width for i, width in enumerate(tile[1:]) if i != axis]
        tile = (tile[1 + axis], *plane)
    return replace(context, sense=_planes(context.sense, axis), tile=tile)
