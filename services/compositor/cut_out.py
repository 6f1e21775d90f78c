"""Cuts a product out of its photo."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chassis.images.decoding import Photo
from services.compositor.confidence import Quality, judge
from services.compositor.errors import CutOutFailed
from services.compositor.matting import Alpha, product_colors, refine
from services.compositor.pixels import bounds, shrink
from services.compositor.segmentation import SIDE_PX, segment

DECODED_SIDE_PX = 1400
"""What a photo's shorter side keeps when it is decoded."""

LONGEST_SIDE_PX = 2048
"""Of a cut-out's photo: the largest preview needs no more."""

# Room around the product for its soft edge, in pixels.
_MARGIN_PX = 2
# A product smaller than this share of its photo is a speck.
_SMALLEST_SHARE = 0.001
_VISIBLE = 13


class Source(Enum):
    """Where an outline comes from."""

    ALPHA_CHANNEL = "alpha channel"
    SEGMENTED = "segmented"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class CutOut:
    """A product without its background.

    Attributes:
        color: sRGB of shape (height, width, 3): the photo's own pixels wherever `alpha` is 255.
        alpha: opacity of the same size.
        box: what of the photo it shows, in pixels of the whole photo.
        scale: its pixels for a pixel of the photo, at most 1.
        source: where the outline comes from.
        quality: how sure it is.
    """

    color: NDArray[np.uint8]
    alpha: Alpha
    box: Box
    scale: float
    source: Source
    quality: Quality

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        return int(self.color.nbytes + self.alpha.nbytes)


def cut_out(photo: Photo) -> CutOut:
    """Cuts out what stands out from the photo's border; an alpha channel is taken as it is.

    Raises:
        CutOutFailed: nothing stands out, or the photo is wholly transparent.
    """
    rgb, alpha = _working_size(photo)
    if alpha is not None:
        source, quality = Source.ALPHA_CHANNEL, Quality(1.0, "")
        if not (alpha >= _VISIBLE).any():
            raise CutOutFailed.because("it is wholly transparent; send a photo that shows the product")
        window = bounds(alpha > 0)
    else:
        source = Source.SEGMENTED
        alpha, quality, window = _segment(rgb)
    color, alpha = rgb[window], alpha[window]
    return CutOut(
        color=product_colors(color, alpha),
        alpha=alpha,
        box=_in_photo(window, rgb, photo),
        scale=rgb.shape[1] / photo.width if photo.width >= photo.height else rgb.shape[0] / photo.height,
        source=source,
        quality=quality,
    )


def _working_size(photo: Photo) -> tuple[NDArray[np.uint8], Alpha | None]:
    """Colours and opacity with a longer side of at most 2048."""
    factor = LONGEST_SIDE_PX / max(photo.color.size)
    if factor >= 1:
        return np.asarray(photo.color), photo.alpha
    if photo.alpha is None:
        return shrink(np.asarray(photo.color), LONGEST_SIDE_PX), None
    size = max(1, round(photo.color.width * factor)), max(1, round(photo.color.height * factor))
    # Pillow weighs colours by their opacity, so that those of clear pixels do not show.
    whole = photo.color.copy()
    whole.putalpha(Image.fromarray(photo.alpha))
    small = np.asarray(whole.resize(size, Image.Resampling.BOX))
    return small[..., :3], small[..., 3]


def _segment(rgb: NDArray[np.uint8]) -> tuple[Alpha, Quality, tuple[slice, slice]]:
    small = shrink(rgb, SIDE_PX)
    segmentation = segment(small)
    if segmentation.mask.mean() < _SMALLEST_SHARE:
        raise CutOutFailed.because(
            "nothing in it stands out from its border; send the product before a plain background of another colour, "
            "or as a PNG or WebP with a transparent background"
        )
    # Only what is near the product is looked at in full size.
    scale = (rgb.shape[0] / small.shape[0], rgb.shape[1] / small.shape[1])
    rows, columns = bounds(segmentation.mask, margin=10)
    near = tuple(
        slice(round(each.start * factor), round(each.stop * factor))
        for each, factor in zip((rows, columns), scale, strict=True)
    )
    alpha = np.zeros(rgb.shape[:2], dtype=np.uint8)
    alpha[near] = refine(segmentation.mask[rows, columns], rgb[near])
    return alpha, judge(segmentation, small), bounds(alpha > 0, margin=_MARGIN_PX)


def _in_photo(window: tuple[slice, slice], rgb: NDArray[np.uint8], photo: Photo) -> Box:
    x, y = photo.width / rgb.shape[1], photo.height / rgb.shape[0]
    left, top = int(window[1].start * x), int(window[0].start * y)
    right, bottom = round(window[1].stop * x), round(window[0].stop * y)
    return Box(left, top, max(1, right - left), max(1, bottom - top))
