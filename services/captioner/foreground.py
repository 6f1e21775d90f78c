"""Where the product is in a photo."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.captioner.palette import find_clusters, to_lab

# GrabCut takes time in proportion to the pixels, and a product's outline needs no more of them.
SIDE_PX = 96
# The colours of product and background are learnt from every second pixel of every second row.
_LEARNING_STEP = 2
_BORDER_SHARE = 0.04
# Distance in CIELAB from the border's colours beyond which a pixel is likely, and surely, the product's.
_LIKELY_DISTANCE, _SURE_DISTANCE = 9.0, 26.0
_LIGHTNESS_WEIGHT = 0.45
# The border's colours with less of it than this are rather the product's.
_BACKGROUND_SHARE = 0.15
# A foreground smaller than this is a speck; one larger leaves no background to cut away.
_SMALLEST_SHARE, _LARGEST_SHARE = 0.01, 0.9
_OPAQUE = 128


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle as shares of a picture's width and height, 0 to 1."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Foreground:
    """A product in its photo.

    Attributes:
        mask: bool of shape (height, width), scaled down from the photo: True where the product is.
        pixels: the product's sRGB pixels at the scale of the mask, without its outline, uint8 of shape (pixels, 3).
        box: around the mask.
    """

    mask: NDArray[np.bool_]
    pixels: NDArray[np.uint8]
    box: Box


def find_foreground(image: Image.Image, alpha: NDArray[np.uint8] | None) -> Foreground | None:
    """Finds what stands out from the border's colours; None when nothing does.

    A photo with transparency was cut out by its maker, so its alpha channel is taken as it is. Else GrabCut (Rother et
    al., "GrabCut: interactive foreground extraction using iterated graph cuts", SIGGRAPH 2004) refines a first guess:
    pixels whose colour is far from those of the photo's border.

    Args:
        image: RGB.
        alpha: opacity of `image`, uint8 of the same size.
    """
    small = shrink(image)
    mask = _grab(small) if alpha is None else _shrink_alpha(alpha, small)
    mask = _largest_parts(mask)
    if not _SMALLEST_SHARE <= mask.mean() <= _LARGEST_SHARE:
        return None
    return Foreground(mask, small[_without_outline(mask)], _bounds(mask))


def shrink(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of `image` with its longer side at `SIDE_PX`, of shape (height, width, 3)."""
    scale = SIDE_PX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.resize(size, Image.Resampling.BOX, reducing_gap=2))


def _shrink_alpha(alpha: NDArray[np.uint8], small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    height, width = small.shape[:2]
    return np.asarray(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA)) >= _OPAQUE


def _grab(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    labels = _guess(_distance_from_border(rgb))
    sample = np.ascontiguousarray(labels[::_LEARNING_STEP, ::_LEARNING_STEP])
    if not (sample & 1).any() or not (sample == cv2.GC_BGD).any():
        return np.zeros(labels.shape, dtype=np.bool_)
    colors = np.zeros((1, 65)), np.zeros((1, 65))
    _cut(rgb[::_LEARNING_STEP, ::_LEARNING_STEP], sample, colors, 0, cv2.GC_INIT_WITH_MASK)
    _cut(rgb, labels, colors, 1, cv2.GC_EVAL_FREEZE_MODEL)
    return np.asarray((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))


def _cut(
    rgb: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    colors: tuple[NDArray[np.float64], NDArray[np.float64]],
    iterations: int,
    mode: int,
) -> None:
    """GrabCut, which changes `labels` and the `colors` of background and product in place."""
    whole = (0, 0, rgb.shape[1], rgb.shape[0])
    # OpenCV draws its first clusters at random.
    cv2.setRNGSeed(0)
    cv2.grabCut(np.ascontiguousarray(rgb), labels, whole, *colors, iterations, mode)


def _distance_from_border(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """For each pixel, the distance in CIELAB to the nearest of the border's main colours, of shape (height, width)."""
    height, width = rgb.shape[:2]
    border = find_clusters(rgb[_rim(height, width)])
    # A shadow is darker than the surface that it falls on, but of the same hue.
    weights = np.array([_LIGHTNESS_WEIGHT, 1, 1], dtype=np.float32)
    # A product that touches the border leaves its colour there too, but on a smaller share of it.
    references = border.lab[border.shares >= min(_BACKGROUND_SHARE, border.shares.max())] * weights
    lab = to_lab(rgb) * weights
    # Without the square of the pixel itself, which is the same for each reference.
    squares = ((references**2).sum(axis=1) - 2 * (lab @ references.T)).min(axis=1) + np.einsum("ij,ij->i", lab, lab)
    return np.asarray(np.sqrt(np.maximum(squares, 0)).reshape(height, width))


def _rim(height: int, width: int) -> NDArray[np.bool_]:
    rim = np.ones((height, width), dtype=np.bool_)
    y, x = max(1, round(height * _BORDER_SHARE)), max(1, round(width * _BORDER_SHARE))
    rim[y : height - y, x : width - x] = False
    return rim


def _guess(distance: NDArray[np.float32]) -> NDArray[np.uint8]:
    labels = np.full(distance.shape, cv2.GC_PR_BGD, dtype=np.uint8)
    labels[distance > _LIKELY_DISTANCE] = cv2.GC_PR_FGD
    labels[distance > _SURE_DISTANCE] = cv2.GC_FGD
    rim = _rim(*distance.shape)
    labels[rim & (distance < _SURE_DISTANCE)] = cv2.GC_BGD
    return labels


def _largest_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected parts of `mask` that have at least a tenth of the largest one's area."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:count, cv2.CC_STAT_AREA]
    if not len(areas):
        return mask
    kept = 1 + np.flatnonzero(areas >= areas.max() / 10)
    return np.isin(labels, kept)


def _without_outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`mask` without its outermost pixels, in which the background's colours mix; a product too thin keeps them."""
    inside = np.asarray(cv2.erode(mask.astype(np.uint8), np.ones((3, 3), dtype=np.uint8))) > 0
    return inside if inside.sum() >= mask.sum() / 2 else mask


def _bounds(mask: NDArray[np.bool_]) -> Box:
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(
        left=float(columns[0] / width),
        top=float(rows[0] / height),
        right=float((columns[-1] + 1) / width),
        bottom=float((rows[-1] + 1) / height),
    )
