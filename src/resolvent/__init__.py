"""Reconstruct undersampled MRI by monotone operator learning, with a certificate for every image."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from resolvent._errors import ResolventError
from resolvent._version import __version__

if TYPE_CHECKING:
    from resolvent.data import Geometry, Scan, Volume, simulate, undersample
    from resolvent.data.io import read, write
    from resolvent.linop import SENSE
    from resolvent.mol import MOL, Certificate, Reconstruction, solve_reference
    from resolvent.mol.baselines import sense
    from resolvent.mol.checkpoint import convert
    from resolvent.mol.weights import load, save

_HOMES = {
    "resolvent.data": ("Geometry", "Scan", "Volume", "simulate", "undersample"),
    "resolvent.data.io": ("read", "write"),
    "resolvent.linop": ("SENSE",),
    "resolvent.mol": ("MOL", "Certificate", "Reconstruction", "solve_reference"),
    "resolvent.mol.baselines": ("sense",),
    "resolvent.mol.checkpoint": ("convert",),
    "resolvent.mol.weights": ("load", "save"),
}
"""The module of each public name, which is imported on first use, so that the program starts quickly."""
_PARTS = ("data", "evaluate", "figures", "interop", "linop", "mol", "monotone", "report", "solve", "testing", "train")
"""Submodules that are imported in the same way."""


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            found = globals()[name] = getattr(import_module(home), name)
            return found
    if name in _PARTS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})


__all__ = [
    "MOL",
    "SENSE",
    "Certificate",
    "Geometry",
    "Reconstruction",
    "ResolventError",
    "Scan",
    "Volume",
    "__version__",
    "convert",
    "load",
    "read",
    "save",
    "sense",
    "simulate",
    "solve_reference",
    "undersample",
    "write",
]
