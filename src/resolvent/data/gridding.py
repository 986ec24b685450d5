"""Gridding of the centre of a non-Cartesian scan: the block from which coil maps are estimated."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resolvent._types import KSpace
from resolvent.data.places import Trajectory
from resolvent.linop import NonCartesian, fft
from resolvent.solve import conjugate_gradient

_WIDTH = 32  # samples along an axis that are fitted; the outermost are not used
_RIDGE = 0.03  # of the fit, in which an isolated sample has weight 1


def gridded_centre(kspace: KSpace, mask: Tensor, trajectory: Trajectory) -> tuple[Tensor, Tensor]:
    """The grid samples around DC that explain the samples of the trajectory, for one image.

    ``argmin_g |F g - y|^2 + 0.03 |g|^2`` over images g with 32 pixels per axis and the whole field of view, where y are
    the samples within the square that such images fill; solved by conjugate gradients with the Toeplitz normal
    operator. One image is fitted to all frames of a series: bring them to one phase first.

    Args:
        kspace: ``(1, coil, *lead, *samples)``.
        mask: ``(1, *lead or 1, *samples)``.
        trajectory: places ``(1, *lead or 1, *samples, axis)``.

    Returns:
        k-space ``(coil, *block)`` with DC at ``n // 2`` on every axis, and bool ``block``: where the samples are no
        farther apart than the grid.
    """
    ndim = len(trajectory.matrix)
    lead = kspace.shape[2:-ndim]
    samples = kspace.shape[-ndim:]
    width = tuple(min(_WIDTH, n) for n in trajectory.matrix)
    together = (*(1,) * (ndim - 1), math.prod(lead) * math.prod(samples))  # frames count as readouts of one image
    places = trajectory.places[0].expand(*lead, *samples, ndim).reshape(*together, ndim)
    reach = places.new_tensor(width) / 2
    inside = ((places >= -reach) & (places < reach)).all(-1) & (mask[0].expand(*lead, *samples).reshape(together) != 0)
    places = torch.where(inside.unsqueeze(-1), places, 0.0)

    y = kspace[0].reshape(-1, 1, *together)  # each coil as a single-coil scan
    A = NonCartesian(torch.ones(1, 1, *width, dtype=y.dtype, device=y.device), places, inside)
    fitted = conjugate_gradient(lambda g: A.normal(g) + _RIDGE * g, A.adjoint(y), tol=1e-3, max_steps=50).x
    return fft(fitted, ndim), _covered(places[inside], width)


def _covered(places: Tensor, width: tuple[int, ...]) -> Tensor:
    """The grid points that have a sample within one cycle per field of view along every axis."""
    near = torch.zeros(width, dtype=torch.bool, device=places.device)
    below = places.floor().long()
    for corner in range(2 ** len(width)):
        steps = torch.tensor([(corner >> axis) & 1 for axis in range(len(width))], device=places.device)
        index = below + steps + torch.tensor([n // 2 for n in width], device=places.device)
        held = ((index >= 0) & (index < torch.tensor(width, device=places.device))).all(-1)
        near[tuple(index[held].T)] = True
    return near
