"""Other libraries: their operators here, models from here there. Nothing of theirs is imported."""

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
