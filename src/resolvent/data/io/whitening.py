"""Prewhitening from a noise scan: coils mixed so that their noise is independent and of unit variance."""

from __future__ import annotations

import numpy as np
import torch

from resolvent._errors import DataError
from resolvent.data.coils import whitening


def whitener(noise: np.ndarray, data: np.ndarray, image: np.ndarray, bandwidth: float, path: str) -> np.ndarray:
    """W with ``W C W^H = I``, C the noise covariance of one k-space sample of the image lines.

    ``C = C_scan (t_noise / t_image) / bandwidth`` with the dwell times t of both, since noise power is proportional to
    the bandwidth; for W see `whitening`. With fewer noise samples than twice the coils, or a singular C, only the
    diagonal is used.

    Args:
        noise: headers of the noise acquisitions.
        data: their samples, interleaved floats.
        image: headers of the image acquisitions.
        bandwidth: effective over nominal receiver bandwidth (``relativeReceiverNoiseBandwidth``).
        path: for messages.

    Raises:
        DataError: other channels than the image, samples that are not finite, or a channel without noise.
    """
    coils = int(image["active_channels"][0])
    if (noise["active_channels"] != coils).any():
        raise DataError(
            f"noise scan has {int(noise['active_channels'][0])} channels but the image lines have {coils} ({path}). "
            "Export a noise scan of the same coils."
        )
    samples = np.concatenate([line.view(np.complex64).reshape(coils, -1) for line in data], axis=1)
    count = samples.shape[1]
    if count == 0 or not np.isfinite(samples).all():
        raise DataError(
            f"noise scan is empty or holds NaN or infinite values ({path}). Export it again, or without the noise scan."
        )
    samples = samples.astype(np.complex128)
    covariance = samples @ samples.conj().T / count
    before, after = float(noise["sample_time_us"][0]), float(image["sample_time_us"][0])
    if before > 0 and after > 0:
        covariance *= before / after
    covariance /= bandwidth
    power = covariance.diagonal().real
    if (power <= 0).any():
        raise DataError(
            f"noise scan is zero in channel {int(np.argmin(power))} ({path}). Leave that channel out of the file."
        )
    white = whitening(torch.from_numpy(covariance)) if count >= 2 * coils else None
    if white is not None:
        return white.numpy()
    return np.diag(1 / np.sqrt(power)).astype(np.complex128)
