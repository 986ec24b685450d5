"""Readout oversampling: the outer columns of the image show nothing and are cut off."""

import torch
from torch import Tensor

from resolvent.linop.fourier import fft, ifft

LINES = 256
"""Lines that are transformed at once: so few fit in the processor cache, which is four times as fast."""


def crop_readout(kspace: Tensor, size: int, axis: int = -1) -> Tensor:
    """Keep the central `size` pixels along one image axis: ``fft(crop(ifft(kspace)))``.

    Orthonormal transforms leave the noise of a sample as it was. The centre ``N // 2`` goes to ``size // 2``. Valid
    only if every sample of a line was measured, or none.
    """
    length = kspace.shape[axis]
    if size >= length:
        return kspace
    lines = kspace.movedim(axis, -1)
    kept = lines.new_empty((*lines.shape[:-1], size))
    for ours, theirs in zip(kept.view(-1, size).split(LINES), lines.reshape(-1, length).split(LINES), strict=True):
        ours.copy_(_cropped(theirs, size))
    return kept.movedim(-1, axis).contiguous()


def _cropped(lines: Tensor, size: int) -> Tensor:
    length = lines.shape[1]
    if length % 2 or size % 2:
        first = length // 2 - size // 2
        return fft(ifft(lines, 1)[:, first : first + size], 1)
    # A shift of k-space by half of an even length is a change of sign of every other column, and so is its inverse:
    # they cancel, and without them the centre comes first and the left half last.
    image = torch.fft.ifft(lines, norm="ortho")
    return torch.fft.fft(torch.cat((image[:, : size // 2], image[:, length - size // 2 :]), 1), norm="ortho")
