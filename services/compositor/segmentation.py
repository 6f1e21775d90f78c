"""Where the product is in a photo: which pixels are its, at a size at which that can be computed quickly."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.compositor.pixels import bounds
from services.compositor.studio import Mask, Studio, model_studio, rim

SIDE_PX = 448
"""The longer side of what is segmented; GrabCut takes time in proportion to the pixels."""

# Of a background without noise: cut out already, and put on one colour.
_DIGITAL_NOISE = 0.6
# In units of CIELAB: how far the background scatters, by its noise.
_NOISE_FACTOR, _LEAST_TOLERANCE, _MOST_TOLERANCE = 2.5, 2.5, 14.0
# Further away than the tolerance and this, a pixel is surely the product's.
_SURE_DISTANCE = 12.0
# A shadow that covers more of what stands out than this is none: the product is as grey as its shadow.
_MOST_SHADOW = 0.3
_LIGHT_SHADOW, _DIGITAL_SHADOW, _DEEPEST_SHADOW, _SURELY_DARK = 0.62, 0.8, 0.2, 0.5
_SMALLEST_PART = 0.002
# In pixels.
_LONGEST_JOINT, _WIDEST_JOINT = 35, 11


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A product in a photo of at most 448 x 448 pixels.

    Attributes:
        mask: True where the product is.
        studio: the photo's background.
        dropped: pixels that stood out from the background and were judged not to be the product's, as a share of the
            mask's.
    """

    mask: Mask
    studio: Studio
    dropped: float


def segment(rgb: NDArray[np.uint8]) -> Segmentation:
    """Finds the product in a photo, without its shadow; the mask is empty when nothing stands out.

    What can be reached from the border over background and soft shadow is background; what is far from the background's
    colour is the product. GrabCut (Rother et al., "GrabCut: interactive foreground extraction using iterated graph
    cuts", SIGGRAPH 2004) decides about the rest.

    Args:
        rgb: sRGB of shape (height, width, 3), of at most `SIDE_PX` a side.
    """
    studio = model_studio(rgb)
    labels = _first_guess(studio)
    guessed, possible = _is_product(labels), labels != cv2.GC_BGD
    if not guessed.any() or possible.all():
        return Segmentation(np.zeros(labels.shape, dtype=np.bool_), studio, 0)
    _grab_cut(rgb, labels)
    cut = _is_product(labels)
    mask = _joined(_main_parts(_without_lines_to_the_border(cut)), possible)
    return Segmentation(mask, studio, float((guessed & ~mask).sum() / max(1, mask.sum())))


def _is_product(labels: NDArray[np.uint8]) -> Mask:
    return np.asarray((labels & 1) > 0)


def _first_guess(studio: Studio) -> NDArray[np.uint8]:
    """GrabCut's labels: sure and likely background and product."""
    digital = studio.noise < _DIGITAL_NOISE
    tolerance = float(np.clip(_NOISE_FACTOR * studio.noise, _LEAST_TOLERANCE, _MOST_TOLERANCE))
    smooth = 1.2 + studio.noise
    grey = studio.tint < tolerance
    lit = grey & (studio.shade > (_DIGITAL_SHADOW if digital else _LIGHT_SHADOW)) & (studio.detail < smooth)
    reached = _reachable(lit)
    shadowy = _shadow_share(studio, grey, reached) < _MOST_SHADOW
    if shadowy:
        # Penumbras are steeper than the sweep's own light and shade.
        steepest = smooth + (1.0 if digital else 2.5)
        reached |= _reachable(grey & (studio.shade > _DEEPEST_SHADOW) & (studio.detail < steepest))
    inside = _morph(~reached, cv2.MORPH_OPEN, 3)
    sure = inside & (
        (studio.tint > tolerance + _SURE_DISTANCE) | (studio.shade < (_DEEPEST_SHADOW if shadowy else _SURELY_DARK))
    )
    if digital:
        # There is neither noise nor shade that could be mistaken for a product.
        sure |= _morph(inside, cv2.MORPH_ERODE, 5) & (studio.difference > 2 * tolerance)
    labels = np.full(inside.shape, cv2.GC_PR_BGD, dtype=np.uint8)
    labels[inside] = cv2.GC_PR_FGD
    # Seen through the product, as through a handle.
    labels[inside & (studio.difference < tolerance)] = cv2.GC_PR_BGD
    labels[sure] = cv2.GC_FGD
    labels[_morph(reached, cv2.MORPH_ERODE, 3)] = cv2.GC_BGD
    return labels


def _shadow_share(studio: Studio, grey: Mask, reached: Mask) -> float:
    """How much of what stands out could be shadow."""
    inside = ~reached
    shadow = inside & grey & (studio.shade > _DEEPEST_SHADOW) & (studio.shade <= 0.75)
    return float(shadow.sum() / max(1, _morph(inside, cv2.MORPH_OPEN, 5).sum()))


def _reachable(candidates: Mask) -> Mask:
    """The connected parts of `candidates` that touch the photo's border."""
    return _touching_rim(_parts(candidates, connectivity=4))


def _parts(mask: Mask, connectivity: int) -> NDArray[np.int32]:
    """The number of the connected part that each pixel belongs to; 0 for none."""
    return np.asarray(cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)[1], dtype=np.int32)


def _touching_rim(parts: NDArray[np.int32]) -> Mask:
    """The pixels of parts that touch the rim."""
    touching = np.bincount(parts[rim(parts.shape[0], parts.shape[1])], minlength=int(parts.max()) + 1) > 0
    touching[0] = False
    return np.asarray(touching[parts])


def _grab_cut(rgb: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """Changes `labels` in place, within a margin around what is not surely background."""
    window = bounds(labels != cv2.GC_BGD, margin=max(4, round(0.06 * max(labels.shape))))
    within = np.ascontiguousarray(labels[window])
    if not (within == cv2.GC_BGD).any():
        return
    # OpenCV draws its first clusters at random.
    cv2.setRNGSeed(0)
    cv2.grabCut(
        np.ascontiguousarray(rgb[window]),
        within,
        (0, 0, within.shape[1], within.shape[0]),
        np.zeros((1, 65)),
        np.zeros((1, 65)),
        1,
        cv2.GC_INIT_WITH_MASK,
    )
    labels[window] = within


def _without_lines_to_the_border(mask: Mask) -> Mask:
    """Drops thin lines that run into the border, such as joints of tiles."""
    body = _morph(_morph(mask, cv2.MORPH_OPEN, 7), cv2.MORPH_DILATE, 5)
    return np.asarray(mask & ~_touching_rim(_parts(mask & ~body, connectivity=8)))


def _main_parts(mask: Mask) -> Mask:
    """The part that is large and central, and others that do not touch the border."""
    count, parts, stats, centers = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    off_center = centers / (mask.shape[1], mask.shape[0]) - 0.5
    weights = areas * np.exp(-4 * (off_center**2).sum(axis=1))
    main = 1 + int(weights[1:].argmax())
    kept = areas >= _SMALLEST_PART * areas[main]
    kept[0] = False
    numbers = np.asarray(parts, dtype=np.int32)
    return np.asarray(kept[numbers] & ~_touching_rim(numbers) | (numbers == main))


def _joined(mask: Mask, possible: Mask) -> Mask:
    """Gives back what is thin and joins two parts of the product, such as the rod between a pan and its handle."""
    parts = _parts(mask, connectivity=8)
    if parts.max() < 2:
        return mask
    between = possible & ~mask & _morph(mask, cv2.MORPH_CLOSE, _LONGEST_JOINT)
    thin = _parts(between & ~_morph(between, cv2.MORPH_OPEN, _WIDEST_JOINT), connectivity=8)
    touched = np.zeros(int(thin.max()) + 1, dtype=np.int32)
    for part in range(1, int(parts.max()) + 1):
        touched[np.unique(thin[_morph(parts == part, cv2.MORPH_DILATE, 3)])] += 1
    touched[0] = 0
    return np.asarray(mask | (touched > 1)[thin])


def _morph(mask: Mask, operation: int, side: int) -> Mask:
    kernel = np.ones((side, side), dtype=np.uint8)
    # Beyond the photo's border there is more of the same.
    changed = cv2.morphologyEx(mask.astype(np.uint8), operation, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(changed > 0)
