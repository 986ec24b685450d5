"""The noise level of k-space, estimated from its outer samples when there is no noise scan."""

from __future__ import annotations

import torch
from torch import Tensor

from resolvent._types import KSpace

WIDTHS = (1, 2, 3)
"""Widths of the patches, in samples along each axis."""


def estimate_noise(kspace: KSpace, ndim: int = 2, radius: Tensor | None = None) -> Tensor:
    """Estimate sigma, the standard deviation of the complex noise of one k-space sample, ``E|n|^2 = sigma^2``.

    A patch of k x k samples in all coils is a vector. Signal fills only some directions of the space of these vectors
    (an object is smaller than the field of view, coils are smooth); white noise fills all of them equally. So the
    smallest eigenvalue of their covariance is noise; where signal fills all directions it is too large, never too
    small::

        sigma^2 = min over k = 1, 2, 3 of  lambda_min(R_k) / lambda_min(R_k of white noise of sigma 1)

    R_k is computed from the completely measured patches farthest from the centre: a tenth of them (a fortieth with
    one coil), or 16 for each dimension of the vectors (50 for k = 1) if that is more, or all if there are fewer. A k
    with fewer than four patches for each dimension, or larger than an axis, is left out. The white noise is one draw at
    the same places.

    The wanted noise is that of the image, to which weak coils contribute little. So a coil whose mean magnitude is s
    times that of the median coil, with s below a half, is scaled to ``1 - s`` times it: whatever the gain of a few
    coils, the estimate is at least half of the one without them, and weaker coils count less. Coils of zeros are left
    out, and so are combinations of coils that are zero except for rounding (one coil is a copy of another).

    This is an estimate: within 15 % for white noise 15 to 40 dB below the image and 8 coils. It is too large where
    signal fills all directions of all patches (few coils, hardly any noise; with one coil or no more samples than
    coils, and no patches, it is the power in the corners, noise or not). It is too small if the noise of coils that
    are not weak is correlated or unequal: then it is that of the quietest combination.

    Args:
        kspace: ``(batch, coil, *lead, *spatial)``, zero in all coils where not measured.
        ndim: number of spatial axes, the last ones.
        radius: for samples that are not on a grid, their distance from the centre, in any unit,
            ``(batch or 1, *lead or 1, *spatial)``. Patches are then k neighbours on the last axis, the readout:
            where it is oversampled, signal fills only a part of their directions.

    Returns:
        ``(batch,)``, in the units of `kspace`; 0 for a scan of zeros, or of subnormal numbers.

    Source: the smallest eigenvalues of a calibration matrix are its noise, M. Uecker et al., MRM 71:990-1001 (2014).
    """
    radii = [None] * len(kspace) if radius is None else radius.expand(len(kspace), *kspace.shape[2:])
    axes = ndim if radius is None else 1
    return torch.stack([_sigma(k, axes, r) for k, r in zip(kspace, radii, strict=True)])  # scans differ in their masks


def _sigma(kspace: Tensor, ndim: int, radius: Tensor | None) -> Tensor:
    """The estimate for one scan ``(coil, *lead, *spatial)``, which is scaled to a maximum of 1 first."""
    size = kspace.abs().amax()
    if not bool(size >= torch.finfo(size.dtype).tiny):
        return torch.zeros((), dtype=kspace.real.dtype, device=kspace.device)
    y = kspace / size
    strength = y.abs().flatten(1).mean(1)
    there = strength > torch.finfo(strength.dtype).tiny
    y, strength = y[there], strength[there]
    share = strength / strength.quantile(0.5, interpolation="higher")
    y = y * (torch.maximum(share, 1 - share) / share).reshape(-1, *(1,) * (y.ndim - 1))
    white = torch.randn(y.shape, dtype=torch.complex64, device="cpu", generator=torch.Generator().manual_seed(0)).to(y)
    found = [_smallest(y, white, width, ndim, radius) for width in WIDTHS]
    return size * torch.stack([level for level in found if level is not None]).amin()


def _smallest(y: Tensor, white: Tensor, width: int, ndim: int, radius: Tensor | None) -> Tensor | None:
    """``sqrt(lambda_min(R) / lambda_min(R of white))`` for patches of `width`; None where there are too few."""
    if width > min(y.shape[-ndim:]):
        return None
    measured = _complete((y != 0).any(0), width, ndim)
    distances = (
        _from_centre(y.shape[-ndim:], width, y.device) if radius is None else _windows(radius, width, 1).mean(-1)
    )
    radii = distances.expand(measured.shape)[measured]
    total, unknowns = len(radii), len(y) * width**ndim
    if width > 1 and total < 4 * unknowns:
        return None
    share = 10 if unknowns > 1 else 40  # one coil has no direction without signal, only places with little of it
    count = min(total, max(total // share, (50 if width == 1 else 16) * unknowns))
    outer = measured.nonzero()[radii.argsort(descending=True, stable=True)[:count]]
    p, reference = (_windows(t, width, ndim)[(slice(None), *outer.T)].movedim(0, 1).flatten(1) for t in (y, white))
    if count <= unknowns:
        return p.abs().square().mean().sqrt()
    return (_eigenvalue(p).clamp_min(0) / _eigenvalue(reference)).sqrt().to(y.real.dtype)


def _from_centre(shape: tuple[int, ...], width: int, device: torch.device) -> Tensor:
    """Squared distances of the patch centres from the grid centre; the border is at 1 along every axis."""
    squares = torch.zeros((), device=device)
    for axis, size in enumerate(shape):
        place = (torch.arange(size - width + 1, device=device) + (width - 1) / 2 - size // 2) / (size / 2)
        squares = squares + place.reshape(-1, *(1,) * (len(shape) - 1 - axis)) ** 2
    return squares


def _windows(t: Tensor, width: int, ndim: int) -> Tensor:
    """All patches of `width` along the last `ndim` axes, as a view; the axes within a patch come last."""
    for axis in range(t.ndim - ndim, t.ndim):
        t = t.unfold(axis, width, 1)
    return t


def _complete(measured: Tensor, width: int, ndim: int) -> Tensor:
    """Which patches are measured completely: those of `_windows` whose samples are all true, axis by axis."""
    for axis in range(measured.ndim - ndim, measured.ndim):
        measured = measured.unfold(axis, width, 1).all(-1)
    return measured


def _eigenvalue(p: Tensor) -> Tensor:
    """Smallest eigenvalue of ``E p p^H`` over the rows of `p` that is larger than the rounding error of `p`."""
    rounding = torch.finfo(p.dtype).eps
    p = p.to(torch.complex128)
    values = torch.linalg.eigvalsh(p.mT @ p.conj() / len(p))
    return values[values > values[-1] * max(rounding**2, torch.finfo(values.dtype).eps) * len(values)].amin()
