"""Coils: noise whitening and coil compression."""

from __future__ import annotations

import torch
from torch import Tensor

from resolvent._errors import DataError, ShapeError
from resolvent.data.scan import Scan


def noise_covariance(noise: Tensor) -> Tensor:
    """Noise covariance of the coils, ``Psi = (1/n) sum_i n_i n_i^H``.

    Args:
        noise: complex ``(coil, n)``, samples of a scan without excitation; at least as many samples as coils.

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


def whitening(covariance: Tensor) -> Tensor | None:
    """``L^-1`` with ``Psi = L L^H``; None if Psi is singular, that is, some combination of coils has no noise."""
    root, failed = torch.linalg.cholesky_ex(covariance)
    scale = root.diagonal().abs()
    if failed or scale.min() < 1e-6 * scale.max():
        return None
    return torch.linalg.solve_triangular(root, torch.eye(len(root)).to(root), upper=False)


def whiten(kspace: Tensor, noise: Tensor) -> Tensor:
    """Combine the coils so that their noise is white with ``E|n|^2 = 1``: ``L^-1 k`` with ``Psi = L L^H``.

    The noise scan must have the receiver bandwidth of the data; otherwise first multiply it by the square root of the
    ratio. Maps must be estimated from the whitened data.

    Args:
        kspace: ``(batch, coil, *lead, *spatial)``.
        noise: complex ``(coil, n)``.

    Raises:
        ShapeError: the coil counts differ, or there are fewer noise samples than coils.
        DataError: the covariance is singular, that is, some combination of coils has no noise.

    Source: Pruessmann et al. 2001, MRM 46:638, section on noise decorrelation.

    >>> noise = torch.randn(2, 500, dtype=torch.complex64)
    >>> torch.allclose(noise_covariance(whiten(noise[None], noise)[0]).real, torch.eye(2).double(), atol=1e-5)
    True
    """
    if kspace.shape[1] != noise.shape[0]:
        raise ShapeError(
            f"The noise scan has {noise.shape[0]} coils but k-space has {kspace.shape[1]} (axis 1). "
            "Pass the noise scan of the same measurement."
        )
    white = whitening(noise_covariance(noise))
    if white is None:
        raise DataError("The noise covariance is singular: some coils repeat others. Leave these coils out.")
    return torch.einsum("wc,bc...->bw...", white.to(kspace.device, kspace.dtype), kspace)


def compress_coils(scan: Scan, n_coils: int) -> Scan:
    """The scan in its `n_coils` strongest virtual coils: ``U^H k`` with U the leading left singular vectors of k.

    One matrix is used for all slices and frames. Maps and calibration lines are compressed with it, so they still fit
    the data. U has orthonormal columns: white noise stays white and `noise` does not change. Whiten first.

    Args:
        scan: the scan; U is computed from all its k-space.
        n_coils: 1 to the number of coils.

    Raises:
        DataError: the number of coils is out of range.

    Source: Buehrer et al. 2007, MRM 57:1131.

    >>> from resolvent.data import simulate
    >>> compress_coils(simulate(torch.ones(32, 32), n_coils=8), 3).n_coils
    3
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
