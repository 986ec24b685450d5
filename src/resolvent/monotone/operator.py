"""`MonotoneOperator`: the learned operator F, and what is known about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from resolvent._errors import ModelError
from resolvent.monotone.channels import from_channels, to_channels
from resolvent.monotone.convolution import conv
from resolvent.monotone.tiling import Network, Tile, in_tiles

Kind = Literal["proved", "estimated"]
QUIET = 1e-3
"""Noise level, relative to the image scale, below which a network sees no difference."""

Tier = Literal["all-data", "per-scan", "estimated"]


@dataclass(frozen=True)
class Bound:
    """A number that bounds something, and how it is known.

    Attributes:
        value: the bound.
        kind: "proved" if it follows from a construction or a rigorous estimate; "estimated" if it was sampled,
            trained for, or only declared.
    """

    value: float
    kind: Kind

    def __str__(self) -> str:
        """``0.1 (proved)``."""
        return f"{self.value:.4g} ({self.kind})"


@dataclass(frozen=True)
class ScanContext:
    """The input of a conditioned score, used once per scan before the equation is solved. Images are complex.

    Attributes:
        sense: linear (Tikhonov-SENSE) reconstruction ``(batch, *lead, *spatial)``.
        zero_filled: ``A^H b``, with density compensation where the density varies.
        noise: noise level relative to the image scale, ``(batch,)``.
        data_consistent: ``u -> (I + lam N)^-1 (u + lam A^H b)``, differentiable.
        tile: the largest part that a network may process at once (see `in_tiles`); None for everything.
        still: for a series, the linear reconstruction of one image for all frames, in every frame; otherwise None.
    """

    sense: Tensor
    zero_filled: Tensor
    noise: Tensor
    data_consistent: Callable[[Tensor], Tensor]
    tile: Tile | None = None
    still: Callable[[], Tensor] | None = None


@dataclass  # not frozen: torch.compile cannot create a frozen one between two compiled parts
class Score:
    """F for one batch of scans: a pure function of x with every tensor it needs, created once before the solve.

    ``F(x) = (1 + ridge) x - H(x)``, with ``H(x) = P network(P x)`` where a support is given, P the projection on it.
    Outside the support F is (1 + ridge) I, and the solution is zero. P is symmetric with norm 1, so ``P network P`` has
    no larger Lipschitz constant than the network, and m, c and r hold for F as they do without a support.

    Attributes:
        network: the network, a function of ``(x, shared, own)``.
        shared: tensors shared by all samples (normalised weights).
        own: tensors with one entry for each sample along axis 0 (conditioning).
        ridge: weight of the identity added to ``I - H``.
        support: 1 where the image may differ from zero, 0 elsewhere; in the shape of an image, axes may be 1.
        start: an image near the solution, at which a solve starts; None for the linear reconstruction.
    """

    network: Network
    shared: tuple[Tensor, ...]
    own: tuple[Tensor, ...] = ()
    ridge: float = 0.0
    support: Tensor | None = None
    start: Tensor | None = None

    def H(self, x: Tensor) -> Tensor:
        """``H = (1 + ridge) I - F``."""
        if self.support is None:
            return self.network(x, self.shared, self.own)
        return self.support * self.network(self.support * x, self.shared, self.own)

    def __call__(self, x: Tensor) -> Tensor:
        """``F(x)``."""
        return (1 + self.ridge) * x - self.H(x)

    def in_tiles(self, radius: int | None, tile: Tile | None) -> Score:
        """The same function, with its network evaluated and differentiated tile by tile."""
        return replace(self, network=in_tiles(self.network, radius, tile))

    def select(self, index: Tensor) -> Score:
        """The score of the samples `index`."""
        support = self.support if self.support is None or len(self.support) == 1 else self.support[index]
        return replace(self, own=tuple(t[index] for t in self.own), support=support)

    def to_double(self) -> Score:
        """The same function in double precision: the same numbers, without normalising the weights again."""
        support = None if self.support is None else _double(self.support)
        return replace(
            self, shared=tuple(map(_double, self.shared)), own=tuple(map(_double, self.own)), support=support
        )


def _double(t: Tensor) -> Tensor:
    return t.detach().to(torch.complex128 if t.is_complex() else torch.float64)


class MonotoneOperator(nn.Module, ABC):
    """A learned operator F with ``|F - c I|_Lip <= r < c``; hence F is m-monotone with ``m = c - r``.

    F is m-monotone if ``<F(x) - F(y), x - y> >= m |x - y|^2`` for all x, y, with ``<a, b> = Re a^H b``. If F is also
    continuous, ``lam A^H (A x - b) + F(x) = 0`` has exactly one solution for every A, b and lam > 0 (Minty, Browder).
    Here ``F = I - H`` with a network H, so c = 1 unless a subclass says otherwise.

    Images are complex ``(batch, *lead, *spatial)``; axes before the last `ndim` are independent images to the network.

    Args:
        ndim: number of axes the network convolves: 2, or 3 for volumes and for 2-D+time (with time as the first).
        config: the arguments that build the same operator again: JSON numbers only.
    """

    def __init__(self, ndim: int, **config: float) -> None:
        super().__init__()
        if ndim not in (2, 3):
            raise ModelError(f"ndim is {ndim}; a score convolves 2 or 3 axes. Pass ndim=2 or ndim=3.")
        self.ndim = ndim
        self.config: dict[str, float] = {"ndim": ndim, **config}

    @abstractmethod
    def condition(self, context: ScanContext | None = None) -> Score:
        """F for the scans of `context`, with weights normalised once and conditioning computed once."""

    @property
    @abstractmethod
    def m(self) -> Bound:
        """Monotonicity constant."""

    @property
    def c(self) -> Bound:
        """Centre of the ball that contains the Jacobian of F."""
        return Bound(1.0, "proved")

    @property
    def r(self) -> Bound:
        """Bound ``c - m`` of ``|F - c I|_Lip``."""
        return Bound(self.c.value - self.m.value, self.m.kind)

    @property
    def radius(self) -> int | None:
        """Radius of the receptive field of H in pixels, on every axis; None if unknown (H needs the whole image)."""
        return None

    def conditioning(self, lam: float) -> Bound:
        """Bound of ``|F_1(x) - F_2(x)| / |b_1 - b_2|`` for F conditioned on the data b_1 and b_2, for all A and x.

        Zero for a score that does not depend on the scan; infinite if there is no bound. It depends on `lam`, the
        weight of the data, as a `ScanContext` does.
        """
        return Bound(0.0, "proved")

    @property
    def tier(self) -> Tier:
        """What is proved: everything, for all data; everything but the data gain, for each scan; or nothing."""
        if self.m.kind == "estimated":
            return "estimated"
        return "all-data" if self.conditioning(1.0).kind == "proved" else "per-scan"

    def forward(self, x: Tensor) -> Tensor:
        """``F(x)`` of an unconditioned score."""
        return self.condition()(x)


def checked_margin(m: float) -> float:
    """Return m if it can be that of ``F = I - H`` with ``|H|_Lip <= 1 - m``, proved or aimed at."""
    if not (0 < m < 1 and 1 - m < 1):  # also after rounding
        raise ModelError(
            f"m is {m}, but that of F = I - H with a Lipschitz network is between 0 and 1. Pass such an m."
        )
    return m


def scanned(context: ScanContext | None) -> ScanContext:
    """Return `context`, which a conditioned score needs, or raise if it is None."""
    if context is None:
        raise ModelError("a conditioned score needs a scan. Use it in MOL, or pass a ScanContext to condition().")
    return context


def noise_channel(context: ScanContext, ndim: int) -> Tensor:
    """The logarithm of the noise level as a constant channel ``(batch * fold, 1, *spatial)``."""
    shape = context.sense.shape
    level = context.noise.clamp_min(QUIET).log10().reshape(-1, *(1,) * (len(shape) - 1)).expand(shape)
    return level.reshape(-1, 1, *shape[-ndim:]).to(context.sense.real.dtype)


def cnn(x: Tensor, layers: tuple[Tensor, ...], ndim: int) -> Tensor:
    """Convolutions with ReLU between, on a complex image: `layers` holds kernel, bias, kernel, bias, ..."""
    z = to_channels(x, ndim)
    for i in range(0, len(layers), 2):
        z = conv(z if i == 0 else z.relu_(), layers[i], layers[i + 1])
    return from_channels(z, x)
