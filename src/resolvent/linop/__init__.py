"""Physics: linear operators from images to measurements. Tensors only."""

from resolvent.linop.base import LinearOperator
from resolvent.linop.fourier import fft, ifft
from resolvent.linop.imaging import Blur, Decimation, Sampling, Still, fourier
from resolvent.linop.noise import estimate_noise
from resolvent.linop.noncartesian import NonCartesian
from resolvent.linop.sense import SENSE
from resolvent.linop.tomography import ParallelBeam

__all__ = [
    "SENSE",
    "Blur",
    "Decimation",
    "LinearOperator",
    "NonCartesian",
    "ParallelBeam",
    "Sampling",
    "Still",
    "estimate_noise",
    "fft",
    "fourier",
    "ifft",
]
