"""Reconstruct undersampled MRI by monotone operator learning, with a certificate for every image."""

from resolvent._version import __version__

__all__ = ["__version__"]
