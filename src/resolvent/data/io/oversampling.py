"""Readout oversampling: the outer columns of the image show nothing and are cut off."""

from torch import Tensor

from resolvent.linop.fourier import fft, ifft


def crop_readout(kspace: Tensor, size: int, axis: int = -1) -> Tensor:
    """Keep the central `size` pixels along one image axis: ``fft(crop(ifft(kspace)))``.

    Orthonormal transforms leave the noise of a sample as it was. The centre ``N // 2`` goes to ``size // 2``. Valid
    only where every sample of a line was measured, or none.
    """
    length = kspace.shape[axis]
    if size >= length:
        return kspace
    lines = kspace.movedim(axis, -1)
    start = length // 2 - size // 2
    return fft(ifft(lines, 1)[..., start : start + size], 1).movedim(-1, axis).contiguous()
