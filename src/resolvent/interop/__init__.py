"""Interfaces to other libraries: their operators here, our models there. None of these libraries is imported."""

from resolvent.interop.deepinv import DeepinvReconstructor, from_deepinv, to_channels, to_complex
from resolvent.interop.foreign import ForeignOperator
from resolvent.interop.linops import from_mrpro, from_sigpy

__all__ = [
    "DeepinvReconstructor",
    "ForeignOperator",
    "from_deepinv",
    "from_mrpro",
    "from_sigpy",
    "to_channels",
    "to_complex",
]
