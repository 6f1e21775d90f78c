"""The soft edge of a cut-out: how opaque each pixel is, and the product's own colour where it is not."""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from services.compositor.studio import Mask, to_lab

Alpha = NDArray[np.uint8]
"""Opacity, of shape (height, width): 0 is clear, 255 is the product alone."""

_Number = TypeVar("_Number", np.uint8, np.float32)

# The filter sees a photo of at most this many pixels; a larger one gets the coefficients of a smaller one.
_FILTERED_PIXELS = 400_000
# Variance below which a window counts as flat, of channels of 0 to 1.
_FLAT_VARIANCE = 1e-4
# Less than this is taken for none, and more for all. The clear side gives more: a fringe of the old background shows,
# and a product that is half a pixel smaller does not.
_CLEAR, _OPAQUE = 0.3, 0.97
# By how much steps of the mask are smoothed, in its pixels, and the edge, in the photo's: people see a ragged line
# before they see a soft one.
_STEP_BLUR, _EDGE_BLUR_PX = 1.2, 0.7
# Blur sides for the colours, in shares of the longer side: far first, then near (90 and 6 pixels in the paper).
_FAR_SHARE, _NEAR_SHARE = 0.06, 0.006


def refine(mask: Mask, rgb: NDArray[np.uint8]) -> Alpha:
    """The opacity of a photo's pixels, from a mask of a smaller copy of it.

    The mask is brought to the photo's size by a guided filter (He, Sun and Tang, "Guided image filtering", ECCV 2010;
    coefficients from a smaller copy: He and Sun, "Fast guided filter", 2015) with the photo as its guide, so that the
    edge follows the photo's. Beyond a few pixels of the mask's edge nothing changes.

    Args:
        mask: True where the product is.
        rgb: the photo, sRGB of shape (height, width, 3), any number of times the mask's size.
    """
    height, width = rgb.shape[:2]
    scale = max(height / mask.shape[0], width / mask.shape[1], 1)
    coarse = _resize(mask.astype(np.float32), (height, width))
    reach = max(2, round(2.5 * scale))
    band = _band(coarse > 0.5, reach)
    smooth = _blurred(coarse, _STEP_BLUR * scale)
    soft = _guided(rgb, smooth, radius=max(2, round(1.5 * scale)))
    soft = _blurred(np.clip((soft - _CLEAR) / (_OPAQUE - _CLEAR), 0, 1), _EDGE_BLUR_PX)
    alpha = np.where(band, soft, coarse > 0.5)
    return np.asarray(np.round(alpha * 255).astype(np.uint8))


def _blurred(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values.astype(np.float32), (0, 0), sigma))


def _band(mask: Mask, reach: int) -> Mask:
    """Pixels within `reach` of the mask's edge."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    whole = mask.astype(np.uint8)
    return np.asarray(cv2.dilate(whole, kernel) != cv2.erode(whole, kernel))


def _guided(rgb: NDArray[np.uint8], target: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """`target` as a linear function of the photo's colours in each window of `radius`."""
    height, width = target.shape
    shrink = min(1.0, (_FILTERED_PIXELS / (height * width)) ** 0.5)
    small = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    side = 2 * max(1, round(radius * shrink)) + 1
    guide = _guide(_resize(rgb, small))
    slopes, offset = _coefficients(guide, _resize(target, small), side)
    if shrink < 1:
        slopes, offset = _resize(slopes, (height, width)), _resize(offset, (height, width))
        guide = _guide(rgb)
    return np.asarray((slopes * guide).sum(axis=-1) + offset)


def _guide(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIELAB with each channel at about 0 to 1."""
    return to_lab(rgb) / np.float32(100)


def _coefficients(
    guide: NDArray[np.float32], target: NDArray[np.float32], side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(values, (side, side)), dtype=np.float32)

    means, target_mean = mean(guide), mean(target)
    products = mean(np.stack([guide[..., i] * guide[..., j] for i, j in _PAIRS], axis=-1).reshape(*target.shape, 6))
    variances = [products[..., k] - means[..., i] * means[..., j] for k, (i, j) in enumerate(_PAIRS)]
    covariance = mean(guide * target[..., None]) - means * target_mean[..., None]
    slopes = _solve(variances, covariance)
    offset = target_mean - (slopes * means).sum(axis=-1)
    return mean(slopes), mean(offset)


_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def _solve(variances: list[NDArray[np.float32]], covariance: NDArray[np.float32]) -> NDArray[np.float32]:
    """The solution of a symmetric system of three equations for each pixel, by its adjugate matrix."""
    a, b, c, d, e, f = variances
    a, d, f = a + _FLAT_VARIANCE, d + _FLAT_VARIANCE, f + _FLAT_VARIANCE
    x, y, z = (covariance[..., channel] for channel in range(3))
    aa, bb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    dd, ee, ff = a * f - c * c, b * c - a * e, a * d - b * b
    determinant = np.maximum(a * aa + b * bb + c * cc, _FLAT_VARIANCE**3)
    solved = np.stack([aa * x + bb * y + cc * z, bb * x + dd * y + ee * z, cc * x + ee * y + ff * z], axis=-1)
    return np.asarray(solved / determinant[..., None])


def product_colors(rgb: NDArray[np.uint8], alpha: Alpha) -> NDArray[np.uint8]:
    """The product's colours without the background that shines through its soft edge; sRGB of the photo's shape.

    Where the product is opaque they are the photo's own, to the bit. Elsewhere they are estimated by blurring (Forte,
    "Approximate fast foreground colour estimation", ICIP 2021).
    """
    longer = max(alpha.shape)
    opacity = alpha.astype(np.float32)[..., None] / np.float32(255)
    photo = rgb.astype(np.float32)
    product, background = photo, photo
    for share in (_FAR_SHARE, _NEAR_SHARE):
        side = 2 * max(1, round(longer * share / 2)) + 1
        product, background = _blur_fusion(photo, product, background, opacity, side)
    colors = np.clip(product + 0.5, 0, 255).astype(np.uint8)
    return np.where(alpha[..., None] == 255, rgb, colors)


def _blur_fusion(
    photo: NDArray[np.float32],
    product: NDArray[np.float32],
    background: NDArray[np.float32],
    opacity: NDArray[np.float32],
    side: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    near_product = _weighted_mean(product, opacity, side)
    near_background = _weighted_mean(background, 1 - opacity, side)
    left = photo - opacity * near_product - (1 - opacity) * near_background
    return np.clip(near_product + opacity * left, 0, 255), near_background


def _weighted_mean(colors: NDArray[np.float32], weights: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    total = cv2.blur(weights, (side, side))[..., None]
    return np.asarray(cv2.blur(colors * weights, (side, side)) / (total + 1e-5))


def _resize(values: NDArray[_Number], shape: tuple[int, int]) -> NDArray[_Number]:
    height, width = shape
    if values.shape[:2] == shape:
        return values
    shrinking = height < values.shape[0]
    resized = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=values.dtype)
