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

from jaxtyping import Complex, Shaped
from torch import Tensor

Image = Complex[Tensor, "batch *image"]
KSpace = Complex[Tensor, "batch coil *kspace"]
Maps = Complex[Tensor, "batch coil *maps"]
Mask = Shaped[Tensor, "*mask"]

__all__ = ["Image", "KSpace", "Maps", "Mask"]
