"""Tiled evaluation of a network: the same values and gradients with the memory of one tile."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Network = Callable[[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]
"""A function of an image x, of tensors shared by all samples (`shared`), and of tensors of each sample (`own`)."""

Tile = tuple[int, ...]
"""Largest ``(images, *spatial)`` processed at once, without the halo; images are the axes before the spatial ones."""


def recomputed(network: Network) -> Network:
    """The function `network` with checkpointing: it keeps only its arguments, and runs again for the gradient."""

    def run(x: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
        if not torch.is_grad_enabled():
            return network(x, shared, own)
        out = checkpoint(network, x, shared, own, use_reentrant=False, preserve_rng_state=False)
        assert isinstance(out, Tensor)
        return out

    return run


def in_tiles(network: Network, radius: int | None, tile: Tile | None) -> Network:
    """The function `network` evaluated tile by tile; unchanged where `tile` or `radius` is None.

    An output pixel depends on the input within `radius` pixels on every axis. So a tile with a halo of that width on
    every side gives the values of the whole image on the tile, apart from the order of additions. At the border of the
    image the halo ends: there every convolution pads zeros, as it does for the whole image.

    Under a gradient each tile keeps only its input. The backward pass evaluates it again and adds its part of the
    gradients of x, `shared` and `own`. So a Jacobian product costs one evaluation more, and its memory is also that of
    a tile.

    Args:
        network: a function of ``(x, shared, own)``, x complex ``(batch, *lead, *spatial)``; each of `own` complex in
            the shape of x, or real ``(batch, fold, channel, *spatial)`` with the lead axes merged into one, fold. The
            output has either form.
        radius: radius of the receptive field, in pixels on every spatial axis; None if unknown.
        tile: see `Tile`.
    """
    if tile is None or radius is None:
        return network
    spatial = len(tile) - 1
    halo, anew = (0, *(radius,) * spatial), recomputed(network)

    def run(x: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
        folded = x.reshape(len(x), -1, *x.shape[-spatial:])
        own = tuple(t.reshape(folded.shape) if t.is_complex() else t for t in own)
        out: Tensor | None = None
        for core, wide, inner in cuts(tuple(folded.shape[1:]), tile, halo):
            part = anew(folded[wide], shared, tuple(t[wide] for t in own))
            if out is None:
                out = part.new_empty(*folded.shape[:2], *part.shape[2:-spatial], *folded.shape[2:])
            out[core] = part[inner]
        assert out is not None
        return out.reshape(x.shape) if out.ndim == folded.ndim else out

    return run


def cuts(shape: tuple[int, ...], tile: Tile, halo: tuple[int, ...]) -> Iterator[tuple[tuple, tuple, tuple]]:
    """The tiles of an image: for each, indices of the tile, of the tile with its halo, and of the first in the second.

    The indices are for ``(batch, images, ..., *spatial)``.

    Args:
        shape: ``(images, *spatial)``.
        tile: largest tile.
        halo: width on each axis.
    """
    axes = []
    for size, largest, width in zip(shape, tile, halo, strict=True):
        parts = math.ceil(size / largest)
        edges = [size * i // parts for i in range(parts + 1)]
        with_halo = [(a, b, max(0, a - width), min(size, b + width)) for a, b in itertools.pairwise(edges)]
        axes.append([(slice(a, b), slice(c, d), slice(a - c, b - c)) for a, b, c, d in with_halo])
    for tiles in itertools.product(*axes):
        core, wide, inner = ((slice(None), images, ..., *space) for images, *space in zip(*tiles, strict=True))
        yield core, wide, inner
