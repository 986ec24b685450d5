"""Reconstruct undersampled MRI by monotone operator learning, with a certificate for every image."""

from resolvent._version import __version__
from resolvent.linop import SENSE
from resolvent.mol import MOL, solve_reference

__all__ = ["MOL", "SENSE", "__version__", "solve_reference"]
