"""How densely coils and mask sample k-space: the diagonal of the normal operator of `SENSE` there."""

from __future__ import annotations

import torch
from torch import Tensor


def coil_energy(maps: Tensor, axes: tuple[int, ...]) -> Tensor:
    """``sum_c |s_c^(k)|^2`` with ``s^ = F s / sqrt(n)``, F along `axes`: how far the coils blur k-space."""
    if not axes:
        return maps.real.new_zeros(1)
    energy = torch.zeros((), dtype=maps.real.dtype, device=maps.device)
    for coil in maps.unbind(1):
        spectrum = torch.fft.fftn(coil, dim=axes, norm="forward")
        energy = energy + (spectrum.real.square() + spectrum.imag.square())
    return energy


def density(energy: Tensor, power: Tensor, axes: tuple[int, ...], sets: int) -> Tensor:
    """The diagonal of ``F N F^H``, F along `axes`: the sampling density, blurred as the coils blur k-space.

    Entry k is ``sum_l sum_c |s_c^(l - k)|^2 mask(l)^2``, see `coil_energy`, for each point of the other axes. It has
    the shape of an image, in the order of a transform without shifts.
    """
    if not axes:
        return power.new_zeros(1)
    samples = torch.fft.ifftshift(power if sets > 1 else power[:, 0], dim=axes)  # the coil axis stands for the sets
    return torch.fft.ifftn(
        torch.fft.fftn(energy, dim=axes).conj() * torch.fft.fftn(samples, dim=axes), dim=axes
    ).real.clamp_min(0)
