"""Training on photographs: blurred greyscale pictures with missing pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resolvent._errors import DataError, FormatError
from resolvent.data import Subject
from resolvent.linop import Blur, Sampling
from resolvent.train.config import Scans
from resolvent.train.draws import Batch, quick_sizes
from resolvent.train.objects import framed


def draw_pictures(
    pictures: Sequence[Subject], scans: Scans, *, seed: int, number: int, size: int, denoise: bool = False
) -> Batch:
    """Batch `number` of the stream `seed`: ``y = M (k * x + n)``, all but the size drawn for each picture.

    x is a part of a photograph, real and at least 0, stored as complex; k a blur, M a mask of pixels, n real noise.

    Args:
        pictures: photographs.
        scans: the settings: `acceleration` is pixels over pixels measured, `blur` the width of k.
        seed: of the stream.
        number: of the batch.
        size: pictures in it.
        denoise: no blur, all pixels and at most 25 dB, so that only noise is left to remove.

    Raises:
        DataError: no part of a picture shows anything, see `framed`.
    """
    rng = np.random.default_rng([seed, number])
    shape = tuple(int(n) for n in rng.choice(quick_sizes(*scans.matrix), 2))
    x, kernels, masks, sigmas, which = [], [], [], [], rng.integers(len(pictures), size=size)
    for subject in which:
        picture = pictures[subject]
        images = picture.images
        assert images is not None
        image = images[int(rng.integers(len(images)))]
        image = framed(image, shape, None, scans, rng, what=f"{picture.name} in {picture.source}")
        x.append((image / image.max()) ** rng.uniform(*scans.contrast))
        kernels.append(draw_kernel(0.0 if denoise else rng.uniform(*scans.blur), rng))
        kept = 1.0 if denoise else math.exp(-rng.uniform(*np.log(scans.acceleration)))
        masks.append(torch.from_numpy((rng.random(shape) < kept).astype(np.float32)))
        decibels, clean = rng.uniform(*scans.snr_db), not denoise and rng.random() < scans.clean
        decibels = min(decibels, 25.0) if denoise else decibels
        sigmas.append(0.0 if clean else float(x[-1].square().mean().sqrt()) * 10 ** (-decibels / 20))
    sigma, mask = torch.tensor(sigmas), torch.stack(masks)
    A = Sampling(mask) @ Blur(_stacked(kernels), shape)
    reference = torch.stack(x) + 0j
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    n = sigma.reshape(-1, 1, 1) * torch.randn(size, *shape, generator=generator)
    told = sigma * torch.from_numpy(rng.uniform(1 - scans.noise_error, 1 + scans.noise_error, size)).float()
    y = (A(reference).real + mask * n) + 0j
    return Batch(y, A, mask, told, reference, torch.from_numpy(which))


def draw_kernel(width: float, rng: np.random.Generator) -> Tensor:
    """A blur of sum 1, so that |A| <= 1: out of focus (an oriented Gaussian) or motion (a line), equally likely.

    Args:
        width: standard deviation along the longer axis, pixels; 0 for none.
        rng: source of random numbers.

    Returns:
        Odd and square, float32.
    """
    reach = math.ceil(3 * width)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    angle = rng.uniform(0, math.pi)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    if rng.random() < 0.5:
        longer, shorter = max(width, 1e-3), max(width * rng.uniform(0.4, 1.0), 1e-3)
        kernel = np.exp(-((along / longer) ** 2 + (across / shorter) ** 2) / 2)
    else:  # a line of that standard deviation, one pixel thick
        half = math.sqrt(3) * width
        kernel = np.clip(half + 0.5 - abs(along), 0, 1) * np.clip(1 - abs(across), 0, 1)
    return torch.from_numpy((kernel / kernel.sum()).astype(np.float32))


def read_picture(path: Path) -> Subject:
    """A PNG or JPEG photograph in grey; if there is no such file, one of those that come with scikit-image.

    Raises:
        FormatError: there is no such file, or it is no picture.
        DataError: it is black.
    """
    import skimage.data
    from PIL import Image as Picture
    from PIL import UnidentifiedImageError

    shipped = Path(skimage.data.__file__).parent / path.name
    found = path if path.is_file() else shipped
    try:
        with Picture.open(found) as picture:
            grey = np.asarray(picture.convert("L"), dtype=np.float32) / 255
    except FileNotFoundError:
        raise FormatError(f"{path} does not exist, here or among scikit-image's photographs. Check the path.") from None
    except (UnidentifiedImageError, OSError):
        raise FormatError(f"{path} is no picture that can be read. Give PNG or JPEG.") from None
    if not grey.any():
        raise DataError(f"{path} is black. Leave it out.")
    return Subject(path.stem, str(found), images=torch.from_numpy(grey / grey.max())[None])


def _stacked(kernels: Sequence[Tensor]) -> Tensor:
    """Odd kernels, padded to the size of the largest around their centres."""
    size = max(len(k) for k in kernels)
    return torch.stack([torch.nn.functional.pad(k, ((size - len(k)) // 2,) * 4) for k in kernels])
