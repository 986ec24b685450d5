"""What the samples of a scan are worth: how much of an image they leave open, and how far they contradict the maps."""

from __future__ import annotations

import torch
from torch import Tensor

from resolvent._types import Image, KSpace
from resolvent.linop import LinearOperator, ifft
from resolvent.mol.equation import WINDOW, Work, resolvent
from resolvent.solve import along, inner, norm

_FAITHFUL = 1000.0
"""Weight of the data in the linear reconstruction whose misfit counts."""
LOOSE = 0.1
"""Its accuracy, which tells the misfit within a percent."""


def unseen(A: LinearOperator, like: Image, ndim: int, work: Work | None = None) -> Tensor:
    """The part of the energy of a typical image that A does not measure, ``1 - <x, N x> / |x|^2``, ``(batch,)``.

    N is that of an A of magnitude 1 (see `LinearOperator.magnitude`), as in `misfit`. x is a sum of waves of random
    phases with the spectrum of smooth pieces with sharp borders, ``|x^(k)|^2 ~ (1 + |k|^2)^-(ndim + 1)/2`` in mean, on
    the pixels that A sees. So it matters which samples are missing: eight-fold undersampling leaves 8 % open where
    samples are denser in the middle of the plane, and 30 % where whole lines are missing. It follows from mask and
    maps, in which it is differentiable, and not from the measurements. One application of N.

    Args:
        A: the physics.
        like: an image ``(batch, *lead, *spatial)``; each of the images along `lead` has the same x.
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
    """What no image explains: root mean square of ``A x - b`` over the measured samples, ``(batch,)``, in units of y.

    x is a linear reconstruction that follows the data closely, ``(I + 1000 N)^-1 1000 A^H b``. With exact maps the
    misfit is the noise level, or less where there are hardly more samples than pixels; with maps that err, or a patient
    that moved, it is more.

    Args:
        A: the physics.
        y: measurements b.
        back: ``A^H b``.
        tol: accuracy of x.
        work: counts the applications of N.
    """
    lam = back.new_full((len(back),), _FAITHFUL, dtype=back.real.dtype) / A.magnitude**2
    x = resolvent(A, lam, along(lam, back) * back, tol=tol, window=WINDOW, work=work)
    y = A.measured(y)
    samples = (y != 0).flatten(1).sum(1).clamp_min(1)
    return norm(A(x) - y) / samples.to(lam.dtype).sqrt()
