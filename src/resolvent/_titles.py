"""The titles of images in figures, tables and pages."""

from __future__ import annotations

_TITLES = {
    "zero_filled": "Zero-filled",
    "sense": "SENSE",
    "tv": "TV",
    "wavelet": "Wavelet",
    "model": "Model",
    "image": "Image",
    "reference": "Reference",
}


def title_of(name: str) -> str:
    """The title of an image, given the name under which it is passed; other names, such as models, are unchanged.

    >>> title_of("zero-filled"), title_of("brain-2d")
    ('Zero-filled', 'brain-2d')
    """
    return _TITLES.get(name.replace("-", "_"), name)
