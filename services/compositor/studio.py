"""The background that a product was photographed on: what it looks like behind the product, and in its shadow."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Lab = NDArray[np.float32]
"""CIELAB colours of shape (height, width, 3): L* of 0 to 100, a* and b* of about -128 to 127."""

Mask = NDArray[np.bool_]
"""Of shape (height, width)."""

RIM_SHARE = 0.035
# Rounds of reweighting, after which the fit has settled on the background even where a product touches the border.
_ROUNDS = 8
# A smooth surface is fitted as well to a part of the rim's pixels.
_EVERY = 4
# No noise is taken to be less than this, in units of CIELAB: a background of one colour has none at all.
_LEAST_NOISE = 0.3
# What makes a median of absolute deviations a standard deviation, if they are normal.
_MEDIAN_TO_DEVIATION = 1.4826
# CIELAB's cube root makes (L* + 16), a* and b* proportional to each other as light fades.
_BLACK_OFFSET = 16


@dataclass(frozen=True, slots=True)
class Studio:
    """How each pixel of a photo relates to the background that lies, or would lie, there.

    Attributes:
        noise: how far the border's colours scatter around the model, in units of CIELAB, at least 0.3.
        difference: from the background's colour, in units of CIELAB.
        tint: the same, if what is darker than the background is taken to be the background in shadow.
        shade: lightness (L* + 16) as a share of the background's: 1 where it is lit, less in shadow.
        detail: how fast colours change, in units of CIELAB a pixel.
    """

    noise: float
    difference: NDArray[np.float32]
    tint: NDArray[np.float32]
    shade: NDArray[np.float32]
    detail: NDArray[np.float32]


def to_lab(rgb: NDArray[np.uint8]) -> Lab:
    """SRGB of shape (height, width, 3) in CIELAB."""
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), dtype=np.float32)


def rim(height: int, width: int) -> Mask:
    """The outermost pixels of a photo, where the background is looked for."""
    mask = np.ones((height, width), dtype=np.bool_)
    y, x = max(1, round(height * RIM_SHARE)), max(1, round(width * RIM_SHARE))
    mask[y : height - y, x : width - x] = False
    return mask


def model_studio(rgb: NDArray[np.uint8]) -> Studio:
    """Fits a smooth background to a photo's border, and compares each pixel with it.

    Sweeps and walls are lit unevenly but smoothly, so each channel is a quadratic of the position, fitted to the rim by
    iteratively reweighted least squares. A shadow takes light from the background but leaves its chromaticity: in
    CIELAB, (L* + 16), a* and b* shrink alike.

    Args:
        rgb: sRGB of shape (height, width, 3).
    """
    lab = to_lab(rgb)
    background, noise = _fit(lab)
    shade = (lab[..., 0] + _BLACK_OFFSET) / np.maximum(background[..., 0] + _BLACK_OFFSET, 1)
    dimmed = np.minimum(shade, 1)[..., None] * background[..., 1:]
    chroma = np.linalg.norm(lab[..., 1:] - dimmed, axis=-1)
    brighter = np.maximum(lab[..., 0] - background[..., 0], 0)
    return Studio(
        noise=noise,
        difference=np.asarray(np.linalg.norm(lab - background, axis=-1), dtype=np.float32),
        tint=np.asarray(np.hypot(chroma, brighter), dtype=np.float32),
        shade=np.asarray(shade, dtype=np.float32),
        detail=_detail(lab),
    )


def _fit(lab: Lab) -> tuple[Lab, float]:
    height, width = lab.shape[:2]
    terms = _quadratic_terms(height, width)
    at_rim = rim(height, width)
    samples, targets = terms[at_rim][::_EVERY], lab[at_rim][::_EVERY]
    weights = np.ones(len(samples), dtype=np.float32)
    for _ in range(_ROUNDS):
        weighted = (samples * weights[:, None]).T
        # Ridge: a photo of a few pixels leaves some terms undetermined.
        coefficients = np.linalg.solve(
            weighted @ samples + 1e-3 * np.eye(samples.shape[1], dtype=np.float32), weighted @ targets
        )
        distances = np.linalg.norm(samples @ coefficients - targets, axis=1)
        noise = max(_LEAST_NOISE, _MEDIAN_TO_DEVIATION * float(np.median(distances)))
        weights = (1 / (1 + (distances / (2 * noise)) ** 4)).astype(np.float32)
    return (terms @ coefficients).astype(np.float32), noise


def _quadratic_terms(height: int, width: int) -> NDArray[np.float32]:
    x, y = np.meshgrid(np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32))
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _detail(lab: Lab) -> NDArray[np.float32]:
    smooth = cv2.GaussianBlur(lab, (0, 0), 0.8)
    x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
    y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    return np.asarray(np.sqrt((x * x + y * y).sum(axis=-1)))
