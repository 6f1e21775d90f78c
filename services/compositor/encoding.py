"""Pixels to encoded pictures."""

import io
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_QUALITY = 90


class Format(Enum):
    """How a picture is encoded: its media type."""

    JPEG = "image/jpeg"
    WEBP = "image/webp"
    PNG = "image/png"


def encode(pixels: NDArray[np.uint8], form: Format) -> bytes:
    """Encodes sRGB, or sRGB and alpha, of shape (height, width, 3 or 4)."""
    encoded = io.BytesIO()
    image = Image.fromarray(pixels)
    match form:
        case Format.JPEG:
            # Without subsampling, which would smear the colours of small print.
            image.save(encoded, "JPEG", quality=_QUALITY, subsampling=0)
        case Format.WEBP:
            image.save(encoded, "WEBP", quality=_QUALITY, method=2)
        case Format.PNG:
            image.save(encoded, "PNG", compress_level=3)
    return encoded.getvalue()
