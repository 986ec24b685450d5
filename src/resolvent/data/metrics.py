"""Image quality of magnitude images, as defined by the public evaluation of fastMRI."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from resolvent._errors import DataError, ShapeError


def psnr(reference: Tensor | np.ndarray, image: Tensor | np.ndarray) -> float:
    """Peak signal-to-noise ratio ``10 log10(max(r)^2 / mean((r - x)^2))`` in dB; infinite for equal images.

    Here and in the other measures r and x are magnitudes. The maximum and the mean are over the whole array, so pass
    one volume (or the slices of one subject) at a time, as fastMRI does.

    Args:
        reference: ``(..., y, x)``, real or complex.
        image: same shape.

    Raises:
        ShapeError: the shapes differ.
        DataError: values that are not finite, or a reference of zeros.
    """
    r, x = _magnitudes(reference, image)
    error = float(np.mean((r - x) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(r.max() ** 2 / error))


def ssim(reference: Tensor | np.ndarray, image: Tensor | np.ndarray) -> float:
    """Structural similarity of each ``(y, x)`` slice, averaged; 7 x 7 uniform window, data range ``max(r)``.

    All axes before the last two are slices: the batch, time frames, and z of a 3-D volume.

    Args:
        reference: ``(..., y, x)``, real or complex, at least 7 x 7.
        image: same shape.

    Raises:
        ShapeError: the shapes differ, or a slice is smaller than the window.
        DataError: values that are not finite, or a reference of zeros.

    Source: Wang et al. 2004, IEEE TIP 13:600, in scikit-image's `structural_similarity`.
    """
    from skimage.metrics import structural_similarity  # half a second to import

    r, x = _magnitudes(reference, image)
    if r.ndim < 2 or min(r.shape[-2:]) < 7:
        raise ShapeError(f"SSIM needs 7 x 7 pixels but the images are {r.shape}. Pass images of at least 7 x 7.")
    peak = r.max()
    slices = zip(r.reshape(-1, *r.shape[-2:]), x.reshape(-1, *r.shape[-2:]), strict=True)
    return float(np.mean([structural_similarity(a, b, data_range=peak) for a, b in slices]))


def nmse(reference: Tensor | np.ndarray, image: Tensor | np.ndarray) -> float:
    """Normalised mean squared error ``|r - x|^2 / |r|^2`` over the whole array.

    Args:
        reference: any shape, real or complex.
        image: same shape.

    Raises:
        ShapeError: the shapes differ.
        DataError: values that are not finite, or a reference of zeros.
    """
    r, x = _magnitudes(reference, image)
    return float(np.sum((r - x) ** 2) / np.sum(r**2))


def metrics(reference: Tensor | np.ndarray, image: Tensor | np.ndarray) -> dict[str, float]:
    """`psnr`, `ssim` and `nmse` of one volume, by name.

    >>> import torch
    >>> r = torch.ones(1, 8, 8)
    >>> {name: round(value, 3) for name, value in metrics(r, 0.9 * r).items()}
    {'psnr': 20.0, 'ssim': 0.994, 'nmse': 0.01}
    """
    return {"psnr": psnr(reference, image), "ssim": ssim(reference, image), "nmse": nmse(reference, image)}


def _magnitudes(reference: Tensor | np.ndarray, image: Tensor | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pair = []
    for name, array in (("reference", reference), ("image", image)):
        values = array.detach().cpu().resolve_conj().numpy() if isinstance(array, Tensor) else np.asarray(array)
        magnitude = np.abs(values).astype(np.float64)
        if not np.isfinite(magnitude).all():
            raise DataError(f"The {name} has values that are not finite. Find out where NaN or Inf came from.")
        pair.append(magnitude)
    r, x = pair
    if r.shape != x.shape:
        raise ShapeError(f"The reference is {r.shape} but the image is {x.shape}. Compare images of one shape.")
    if r.size == 0 or r.max() == 0:
        raise DataError("The reference is zero everywhere, so no error is relative to it. Pass another reference.")
    return r, x
