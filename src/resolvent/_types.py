"""Array types and the axis convention of the package.

=========  ==========================================  =====================================
name       axes                                        notes
=========  ==========================================  =====================================
`Image`    ``(batch, *lead, *spatial)``                complex
`KSpace`   ``(batch, coil, *lead, *spatial)``          complex, zero where not measured
`Maps`     ``(batch, coil, *lead or 1, *spatial)``     complex coil sensitivities
`Mask`     ``(batch or 1, *lead or 1, *spatial)``      1 where measured, 0 elsewhere
=========  ==========================================  =====================================

``spatial`` is ``(y, x)`` or ``(z, y, x)``; ``lead`` is time, echo or contrast. Independent slices lie
along ``batch``. With several map sets (soft-SENSE) the set is the first lead axis of image and maps.
"""

from dataclasses import fields
from typing import Any

from jaxtyping import Complex, Shaped
from torch import Tensor

Image = Complex[Tensor, "batch *image"]
KSpace = Complex[Tensor, "batch coil *kspace"]
Maps = Complex[Tensor, "batch coil *maps"]
Mask = Shaped[Tensor, "*mask"]


class Brief:
    """A dataclass that prints in one line: type and shape of tensors, and no fields that have their default value."""

    def __repr__(self) -> str:
        """``Scan(kspace=complex64 (1, 4, 48, 40), ...)``."""
        told = [
            f"{one.name}={_told(value)}"
            for one in fields(self)  # pyright: ignore[reportArgumentType]
            if (value := getattr(self, one.name)) is not one.default
        ]
        return f"{type(self).__name__}({', '.join(told)})"


def _told(value: Any) -> str:
    return f"{str(value.dtype)[6:]} {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


__all__ = ["Brief", "Image", "KSpace", "Maps", "Mask"]
