"""Coils: whitening, the noise level, compression; and sensitivities (`espirit`)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resolvent._errors import DataError, ShapeError
from resolvent.data.espirit import espirit
from resolvent.data.scan import Scan


def noise_covariance(noise: Tensor) -> Tensor:
    """Covariance of the coils' noise, ``Psi = (1/n) sum_i n_i n_i^H``.

    Args:
        noise: complex ``(coil, n)``, samples of a scan without excitation; more samples than coils.

    Returns:
        Hermitian ``(coil, coil)``, complex128.

    Raises:
        ShapeError: not two axes, or fewer samples than coils.
        DataError: samples that are not finite, or a coil without noise.
    """
    if noise.ndim != 2 or noise.shape[1] < noise.shape[0]:
        raise ShapeError(
            f"Noise of shape {tuple(noise.shape)} gives no covariance. Pass (coil, sample), more samples than coils."
        )
    n = noise.to(torch.complex128)
    if not torch.isfinite(torch.view_as_real(n)).all() or (n == 0).all(1).any():
        raise DataError("The noise scan has values that are not finite, or a coil of zeros. Read the scan without it.")
    return n @ n.mH / n.shape[1]


def whiten(kspace: Tensor, noise: Tensor) -> Tensor:
    """Combine the coils so that their noise is white with ``E|n|^2 = 1``: ``L^-1 k`` with ``Psi = L L^H``.

    The noise scan must have the receiver bandwidth of the data; else multiply it first by the root of the ratio.
    Maps must be estimated from the whitened data.

    Args:
        kspace: ``(batch, coil, *lead, *spatial)``.
        noise: complex ``(coil, n)``.

    Raises:
        ShapeError: the coil counts differ, or there are fewer noise samples than coils.
        DataError: the covariance is singular, so that some coil combination has no noise.

    Source: Pruessmann et al. 2001, MRM 46:638, section on noise decorrelation.
    """
    if kspace.shape[1] != noise.shape[0]:
        raise ShapeError(
            f"The noise scan has {noise.shape[0]} coils but k-space has {kspace.shape[1]} (axis 1). "
            "Pass the noise scan of the same measurement."
        )
    root, failed = torch.linalg.cholesky_ex(noise_covariance(noise))
    scale = root.diagonal().abs()
    if failed or scale.min() < 1e-6 * scale.max():
        raise DataError("The noise covariance is singular: some coils repeat others. Leave these coils out.")
    flat = kspace.transpose(0, 1).flatten(1)
    white = torch.linalg.solve_triangular(root.to(kspace.device, kspace.dtype), flat, upper=False)
    return white.reshape(kspace.shape[1], kspace.shape[0], *kspace.shape[2:]).transpose(0, 1).contiguous()


def estimate_noise(kspace: Tensor, mask: Tensor, *, ndim: int = 2) -> float:
    """Standard deviation of the complex noise of one sample, when there is no noise scan.

    The tenth of the measured samples that lies farthest from DC (at least 50 a coil) has the covariance ``R`` between
    coils. Signal fills some of its eigenvectors, white noise fills all alike, so the smallest eigenvalue is noise:

        sigma^2 = lambda_min(R) / E(lambda_min of unit noise),   E = ((a - b)^2 + 1.77 (a - b) (1/b - 1/a)^(1/3)) / n,

    ``a = sqrt(n)``, ``b = sqrt(coils)``, n samples (edge of the Marchenko-Pastur law and mean of the Tracy-Widom law).
    An estimate: within 15 % for white noise 15 to 40 dB below the image (as in `simulate`) and 8 coils. Too large if
    signal fills all directions (few coils, low resolution, hardly any noise: with one coil it is the power in the
    corners, noise or not), too small if the coils' noise is correlated or unequal: then it is that of the quietest
    combination.

    Args:
        kspace: ``(batch, coil, *lead, *spatial)``.
        mask: ``(batch or 1, *lead or 1, *spatial)``.
        ndim: number of spatial axes, 2 or 3.

    Raises:
        DataError: no sample but zeros was measured, or fewer samples than coils.
    """
    n_coils, shape = kspace.shape[1], kspace.shape[-ndim:]
    radius2 = torch.zeros(shape, device=kspace.device)
    for axis, n in enumerate(shape):
        place = (torch.arange(n, device=kspace.device) - n // 2) / (n / 2)
        radius2 += place.reshape(-1, *(1,) * (ndim - 1 - axis)) ** 2
    measured = (mask != 0) & (kspace != 0).any(1)  # the zeros that fill up a smaller matrix hold no noise
    total = int(measured.sum())
    if total <= n_coils:
        raise DataError(
            f"k-space holds {total} measured samples that are not zero, too few to tell the noise of {n_coils} coils. "
            "Check the mask, or pass the noise level."
        )
    radii = radius2.expand(measured.shape)[measured].sort(descending=True).values
    outer = measured & (radius2 >= radii[min(max(total // 10, 50 * n_coils), total) - 1])
    corner = kspace.movedim(1, 0)[:, outer].to(torch.complex128)
    n = corner.shape[1]
    a, b = math.sqrt(n), math.sqrt(n_coils)
    expected = ((a - b) ** 2 + 1.77 * (a - b) * (1 / b - 1 / a) ** (1 / 3)) / n
    smallest = torch.linalg.eigvalsh(corner @ corner.mH / n)[0]
    return math.sqrt(max(float(smallest) / expected, 0.0))


def compress_coils(scan: Scan, n_coils: int) -> Scan:
    """The scan in its `n_coils` strongest virtual coils: ``U^H k`` with U the leading left singular vectors of k.

    One matrix for all slices and frames; maps and calibration lines are compressed with it, so the maps' model still
    holds. U has orthonormal columns: white noise stays white and `noise` stays as it is. Whiten first.

    Args:
        scan: k-space of the whole scan decides.
        n_coils: 1 to the number of coils.

    Raises:
        DataError: a number of coils out of range.

    Source: Buehrer et al. 2007, MRM 57:1131.
    """
    if not 1 <= n_coils <= scan.n_coils:
        raise DataError(f"A scan of {scan.n_coils} coils cannot be compressed to {n_coils}. Pass 1 to {scan.n_coils}.")
    samples = scan.kspace.transpose(0, 1).flatten(1)
    samples = samples / torch.view_as_real(samples).abs().max()
    vectors = torch.linalg.eigh((samples @ samples.mH).to(torch.complex128)).eigenvectors
    strongest = vectors[:, -n_coils:].flip(1).to(scan.kspace.dtype)

    def compressed(values: Tensor) -> Tensor:
        return torch.einsum("cv,bc...->bv...", strongest.conj(), values)

    return scan.replace(
        kspace=compressed(scan.kspace),
        coil_maps=None if scan.coil_maps is None else compressed(scan.coil_maps),
        calibration=scan.calibration and scan.calibration.replace(kspace=compressed(scan.calibration.kspace)),
    )


__all__ = ["compress_coils", "espirit", "estimate_noise", "noise_covariance", "whiten"]
