"""sRGB and linear light, and where the light of a picture comes from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.compositor.pixels import shrink

# Of a picture's longer side, at which light is looked at.
_SIDE_PX = 64
# Luminance of sRGB's primaries (Rec. 709).
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
_STEPS = 4096


def _decode_table() -> NDArray[np.float32]:
    values = np.arange(256, dtype=np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _encode_table() -> NDArray[np.uint8]:
    # Steps of the square root, so that dark tones have enough of them.
    linear = (np.arange(_STEPS) / (_STEPS - 1)) ** 2
    values = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(values * 255).astype(np.uint8)


_TO_LINEAR, _TO_SRGB = _decode_table(), _encode_table()


@dataclass(frozen=True, slots=True)
class Light:
    """The light in a picture.

    Attributes:
        from_side: where it comes from: -1 is the left, 1 the right, 0 neither.
        brightness: mean luminance as it is seen (the square root of the linear one), 0 to 1.
        contrast: how much luminance varies: near 0 in soft light, towards 1 in hard light.
        tint: linear RGB of what shadows are filled with, of mean 1.
    """

    from_side: float
    brightness: float
    contrast: float
    tint: tuple[float, float, float]


def to_linear(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """SRGB to linear light of 0 to 1, of the same shape."""
    return np.asarray(_TO_LINEAR[rgb])


def to_srgb(linear: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Linear light of 0 to 1 to sRGB, of the same shape; each byte comes back as it was."""
    steps = np.sqrt(np.clip(linear, 0, 1)) * (_STEPS - 1) + 0.5
    return np.asarray(_TO_SRGB[steps.astype(np.int32)])


def measure_light(rgb: NDArray[np.uint8]) -> Light:
    """Looks at a picture's light: sRGB of shape (height, width, 3).

    It comes from the side towards which luminance rises: a lamp or a window lights what is near.
    """
    linear = to_linear(shrink(rgb, _SIDE_PX))
    luminance = linear @ _LUMINANCE
    mean = float(luminance.mean()) + 1e-4
    position = np.linspace(-1, 1, luminance.shape[1], dtype=np.float32)
    # The slope of a line through the columns' means, relative to the mean.
    slope = float((luminance.mean(axis=0) * position).mean() / max(1e-6, float((position**2).mean()))) / mean
    color = linear.reshape(-1, 3).mean(axis=0) + 0.02
    tint = color / color.mean()
    return Light(
        from_side=float(np.clip(3 * slope, -1, 1)),
        brightness=float(np.sqrt(mean)),
        contrast=float(np.clip(luminance.std() / mean, 0, 1)),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
    )
