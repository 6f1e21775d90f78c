"""Where a picture is calm enough to put something: how little detail each part of it holds."""

import cv2
import numpy as np
from numpy.typing import NDArray

from services.captioner.palette import to_lab

COLUMNS = ROWS = 8
"""Of the grid."""

# At `foreground.SIDE_PX`: what changes within it is detail, what changes over a longer way is light and shade.
_WINDOW_PX = 5
# The standard deviation of L* at which calmness has fallen to 37 %, as in a plainly visible pattern.
_BUSY_DEVIATION = 8.0

FreeSpace = NDArray[np.float32]
"""Of shape (ROWS, COLUMNS), from the top left: 0 (full of detail) to 1 (calm)."""


def measure_free_space(small: NDArray[np.uint8]) -> FreeSpace:
    """Measures a picture, scaled down as `foreground.shrink` does: sRGB of shape (height, width, 3).

    Detail is the standard deviation of L* in a small window: the luminance part of feature congestion (Rosenholtz, Li
    and Nakano, "Measuring visual clutter", Journal of Vision 7(2), 2007), at one scale of its three.
    """
    lightness = to_lab(small.reshape(-1, 3))[:, 0].reshape(small.shape[:2])
    window = (_WINDOW_PX, _WINDOW_PX)
    variance = cv2.blur(np.square(lightness), window) - np.square(cv2.blur(lightness, window))
    deviation = np.sqrt(variance.clip(min=0))
    detail = cv2.resize(deviation, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA)
    return np.asarray(np.exp(-detail / _BUSY_DEVIATION), dtype=np.float32)
