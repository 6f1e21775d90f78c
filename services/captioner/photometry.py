"""How light, contrasted, colourful and warm a picture is on the whole, and the labels that follow from it."""

from dataclasses import dataclass

import numpy as np

from services.captioner.palette import Lab

# Over this many units of CIELAB around a bound, confidence goes from 0.27 to 0.73.
_SOFTNESS = 4.0


@dataclass(frozen=True, slots=True)
class Photometry:
    """Measures of a picture in CIELAB.

    Attributes:
        lightness: mean L*, 0 (black) to 100 (white).
        contrast: standard deviation of L*.
        chroma: mean distance from grey.
        warmth: mean b*: positive is yellowish, negative is bluish.
    """

    lightness: float
    contrast: float
    chroma: float
    warmth: float


def measure(lab: Lab) -> Photometry:
    """Measures the pixels of a picture."""
    lightness, contrast = lab[:, 0].mean(), lab[:, 0].std()
    chroma = np.hypot(lab[:, 1], lab[:, 2]).mean()
    return Photometry(float(lightness), float(contrast), float(chroma), float(lab[:, 2].mean()))


def measure_confidence(value: float, *, above: float | None, below: float | None) -> float:
    """How surely `value` is on the asked side of a bound: 0.5 at the bound, towards 1 beyond it."""
    distance = value - above if above is not None else (below or 0.0) - value
    return float(1 / (1 + np.exp(-distance / (_SOFTNESS / 2))))
