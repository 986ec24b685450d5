"""PNG: magnitude, 16 bit grey, black is 0 and white the largest value; several slices side by side."""

from __future__ import annotations

import io
import math

import numpy as np
from torch import Tensor

WHITE = 65535


def png_bytes(image: Tensor) -> bytes:
    """The file of an image (batch, *lead, *spatial); all 2-D planes in one montage that is nearly square.

    ``pixel = round(65535 |x| / max |x|)``; the text field ``window_max`` holds ``max |x|``, so the scale is not lost.
    """
    from PIL import Image as Picture
    from PIL.PngImagePlugin import PngInfo

    planes = image.detach().abs().cpu().numpy().astype(np.float64).reshape(-1, *image.shape[-2:])
    count, rows, columns = planes.shape
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    sheet = np.zeros((down * across, rows, columns))
    sheet[:count] = planes
    sheet = sheet.reshape(down, across, rows, columns).swapaxes(1, 2).reshape(down * rows, across * columns)
    top = float(sheet.max())
    grey = np.round(sheet * (WHITE / top)) if top > 0 else sheet
    note = PngInfo()
    note.add_text("window_max", repr(top))
    stream = io.BytesIO()
    Picture.fromarray(grey.astype(np.uint16)).save(stream, format="PNG", pnginfo=note)
    return stream.getvalue()
