"""Physics: linear operators from images to measurements. Tensors only."""

from resolvent.linop.base import LinearOperator
from resolvent.linop.fourier import fft, ifft
from resolvent.linop.noise import estimate_noise
from resolvent.linop.sense import SENSE

__all__ = ["SENSE", "LinearOperator", "estimate_noise", "fft", "ifft"]
