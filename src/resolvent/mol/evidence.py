"""The quality of the samples of a scan: how much of an image they leave open, and how far they contradict the maps."""

from __future__ import annotations

import torch
from torch import Tensor

from resolvent._types import Image, KSpace
from resolvent.linop import LinearOperator, ifft
from resolvent.mol.equation import WINDOW, Work, resolvent
from resolvent.solve import along, inner

_FAITHFUL = 1000.0
"""Weight of the data in the linear reconstruction that defines the misfit."""
LOOSE = 0.1
"""Accuracy of that reconstruction, which gives the misfit within a percent."""
RINGS = 4
"""Number of rings of k-space, each with its own misfit."""


def unseen(A: LinearOperator, like: Image, ndim: int, work: Work | None = None) -> Tensor:
    """The part of the energy of a typical image that A does not measure, ``1 - <x, N x> / |x|^2``, ``(batch,)``.

    N is that of an A of magnitude 1 (see `LinearOperator.magnitude`), as in `misfit`. x is a sum of waves of random
    phases with the mean spectrum of smooth pieces with sharp borders, ``|x^(k)|^2 ~ (1 + |k|^2)^-(ndim + 1)/2``, on the
    pixels that A sees. So it matters which samples are missing: eight-fold undersampling leaves 8 % open where samples
    are denser near the centre of k-space, and 30 % where whole lines are missing. The result depends on mask and maps,
    in which it is differentiable, and not on the measurements. It costs one application of N.

    Args:
        A: the physics.
        like: an image ``(batch, *lead, *spatial)``; x is the same for all images along `lead`.
        ndim: number of spatial axes.
        work: counts the application of N.

    Source: D. J. Field, J. Opt. Soc. Am. A 4:2379-2394 (1987), for the spectra of natural images.
    """
    if work is not None:
        work.applications += 1
    spatial = like.shape[-ndim:]
    squares = [(torch.arange(n, device="cpu") - n // 2).double() ** 2 for n in spatial]
    k2 = torch.stack(torch.meshgrid(*squares, indexing="ij")).sum(0)
    random = torch.randn(spatial, dtype=torch.complex128, device="cpu", generator=torch.Generator().manual_seed(0))
    x = ifft((1 + k2) ** (-(ndim + 1) / 4) * random, ndim).to(like.device, like.dtype).expand(like.shape)
    x = x if A.support is None else A.support * x
    return (1 - inner(x, A.normal(x)) / inner(x, x) / A.magnitude**2).clamp(0, 1)


def misfit(A: LinearOperator, y: KSpace, back: Image, *, tol: float = LOOSE, work: Work | None = None) -> Tensor:
    """The part that no image explains: root mean square of ``A x - b`` over the measured samples, per ring of k-space.

    x is a linear reconstruction that follows the data closely, ``(I + 1000 N)^-1 1000 A^H b``. With exact maps the
    misfit is the noise level, or less where there are hardly more samples than pixels. With wrong maps, or a patient
    that moved, it is larger, mostly where the samples are largest. So it is distributed over `RINGS` rings with equal
    numbers of samples, from the centre of k-space outwards. With e_r the mean square residual in ring r, and w_r that
    of white noise in place of b, which is smaller where samples are sparse::

        misfit_r^2 = mean(e) (e_r / w_r) / mean(e / w)

    For white noise the misfit is the same in all rings. Where A has no frequencies there is one misfit for all samples.

    Args:
        A: the physics.
        y: measurements b.
        back: ``A^H b``.
        tol: accuracy of x.
        work: counts the applications of N.

    Returns:
        The misfit of the ring of each sample, in units of y: in the shape of `LinearOperator.frequency`, or of length 1
        along all axes of y except the batch.
    """
    lam = back.new_full((len(back),), _FAITHFUL, dtype=back.real.dtype) / A.magnitude**2
    y = A.measured(y)
    known = A.frequency
    frequency = lam.new_zeros((1,) * y.ndim) if known is None else known
    others = [axis for axis in range(1, y.ndim) if frequency.shape[axis] == 1]
    count = (y != 0).sum(others, keepdim=True, dtype=lam.dtype)
    ring = _rings(frequency.expand_as(count).flatten(1), count.flatten(1))
    samples = lam.new_zeros(len(y), RINGS).scatter_add(1, ring, count.flatten(1))

    def left(y: Tensor, back: Image) -> Tensor:
        """Mean square of ``A x - y`` in each ring, divided by the square of the largest y."""
        x = resolvent(A, lam, along(lam, back) * back, tol=tol, window=WINDOW, work=work)
        error = ((A(x) - y).abs() / size).square().sum(others, keepdim=True)
        return lam.new_zeros(len(y), RINGS).scatter_add(1, ring, error.flatten(1)) / samples.clamp_min(1)

    size = along(y.abs().flatten(1).amax(1), y)  # squares could overflow or underflow in single precision
    share = samples / samples.sum(1, keepdim=True)
    level = left(y, back)
    mean = (share * level).sum(1, keepdim=True)
    if known is None:
        return size * along(mean.sqrt(), size)
    white = torch.randn(y.shape[1:], dtype=torch.complex128, device="cpu", generator=torch.Generator().manual_seed(0))
    white = size * A.measured(white.to(y.device, y.dtype).expand_as(y))
    level = level / left(white, A.adjoint(white)).masked_fill(samples == 0, 1)
    level = mean * torch.where(samples > 0, level / (share * level).sum(1, keepdim=True), 1.0)
    return size * level.sqrt().gather(1, ring).reshape(count.shape)


def _rings(frequency: Tensor, count: Tensor) -> Tensor:
    """The ring number of each frequency, ``(batch, frequencies)``: `RINGS` rings of equally many samples, if possible.

    Args:
        frequency: ``(batch, frequencies)``.
        count: samples measured there.
    """
    ordered, order = frequency.sort(1)
    share = count.gather(1, order).cumsum(1) / count.sum(1, keepdim=True).clamp_min(1)
    parts = torch.arange(1, RINGS, device=share.device, dtype=share.dtype) / RINGS
    first = torch.searchsorted(share, parts.expand(len(share), -1).contiguous())
    return torch.searchsorted(ordered.gather(1, first.clamp_max(share.shape[1] - 1)), frequency.contiguous())
