"""Work on pixels that several steps share."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def shrink(rgb: NDArray[np.uint8], longer_px: int) -> NDArray[np.uint8]:
    """A picture whose longer side has at most so many pixels; a smaller one is given back as it is."""
    factor = longer_px / max(rgb.shape[:2])
    if factor >= 1:
        return rgb
    size = max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))


def bounds(mask: NDArray[Any], margin: int = 0) -> tuple[slice, slice]:
    """The rows and columns of what is not zero, with a margin as far as there is room."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return (
        slice(max(0, int(rows[0]) - margin), min(height, int(rows[-1]) + 1 + margin)),
        slice(max(0, int(columns[0]) - margin), min(width, int(columns[-1]) + 1 + margin)),
    )
