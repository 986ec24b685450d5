"""A network of planes for volumes: strictly monotone in 3-D, with the weights of a 2-D one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from resolvent._errors import ModelError
from resolvent.monotone.certified import CertifiedStack
from resolvent.monotone.operator import ScanContext, Score


class CertifiedPlanes(CertifiedStack):
    """The mean of a 2-D `CertifiedStack` over the planes of a volume across each of its three axes.

    ::

        F(x) = 1/3 sum_a P_a^T F_a(P_a x)

    P_a takes a volume apart into its planes across axis a, a permutation of its voxels, and F_a is the 2-D operator
    conditioned on these planes of the scan. So each term is m-monotone with ``|F_a - I|_Lip <= 1 - m`` and moves by at
    most K |b_1 - b_2| with the data, and so is and does their mean: all constants are those of the 2-D stack. Every
    voxel is seen in three planes, whose errors differ.

    Its parameters are those of `CertifiedStack` with 2-D kernels, and the weights of such a one serve as they are.

    Args:
        m: monotonicity constant, in (0, 1).
        ndim: 3; there are no planes of a plane.
        stack: the other arguments of `CertifiedStack`.
    """

    def __init__(self, m: float = 0.1, *, ndim: int = 3, **stack: Any) -> None:
        if ndim != 3:
            raise ModelError(f"ndim is {ndim}; planes are those of a volume. Pass ndim=3, or take CertifiedStack.")
        super().__init__(m, ndim=2, **stack)
        self.ndim = self.config["ndim"] = 3

    def condition(self, context: ScanContext | None = None) -> Score:
        """F for the scans of `context`: the 2-D stack conditioned on the planes across each axis."""
        if context is None:
            return super().condition()
        kernels = [c() for c in self.convs]
        parts = [self._conditioned(_planes_of(context, axis), kernels) for axis in range(3)]
        own: list[Tensor] = []
        for axis, part in enumerate(parts):
            anchor, features = part.own
            own += [_volume(anchor, axis), features.unflatten(1, (-1, anchor.shape[-3])).movedim(2, axis - 3)]
        return Score(self._mean, parts[0].shared, tuple(own))

    def _mean(self, x: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
        parts = []
        for axis in range(3):
            anchor, features = own[2 * axis : 2 * axis + 2]
            scan = _planes(anchor, axis), features.movedim(axis - 3, 2).flatten(1, 2)
            parts.append(_volume(self._network(_planes(x, axis), shared, scan), axis))
        return (parts[0] + parts[1] + parts[2]) / 3


def _planes(x: Tensor, axis: int) -> Tensor:
    """``P_a x``: the axis before the two of a plane; the network takes it for one more lead axis."""
    return x.movedim(axis - 3, -3)


def _volume(x: Tensor, axis: int) -> Tensor:
    """``P_a^T x``."""
    return x.movedim(-3, axis - 3)


def _planes_of(context: ScanContext, axis: int) -> ScanContext:
    """The scan as the 2-D stack sees it; data consistency is that of the volume."""
    tile = context.tile
    if tile is not None:
        plane = [width for i, width in enumerate(tile[1:]) if i != axis]
        tile = (tile[1 + axis], *plane)
    return replace(
        context,
        sense=_planes(context.sense, axis),
        zero_filled=_planes(context.zero_filled, axis),
        data_consistent=lambda u: _planes(context.data_consistent(_volume(u, axis).contiguous()), axis),
        tile=tile,
    )
