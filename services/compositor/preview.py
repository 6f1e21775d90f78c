"""Renders a preview: the product, unaltered, before a background."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.compositor import shadows
from services.compositor.cut_out import Box, CutOut
from services.compositor.light import measure_light, to_linear, to_srgb
from services.compositor.matting import Alpha
from services.compositor.pixels import bounds
from services.compositor.placement import Preset, Size, frame_size, place, place_in_middle
from services.compositor.scene import read_scene
from services.compositor.shadows import Shadow

Pixels = NDArray[np.uint8]
"""sRGB of shape (height, width, 3)."""


# Less of a shadow than this does not change a byte.
_UNSHADED = 0.999


@dataclass(frozen=True, slots=True)
class Preview:
    """A rendered preview.

    Attributes:
        pixels: the picture.
        box: where the product stands.
        scale: its pixels for a pixel of the product photo.
    """

    pixels: Pixels
    box: Box
    scale: float


def render(cut_out: CutOut, background: Pixels | None, preset: Preset, longer_px: int) -> Preview:
    """Stands a product in a background; without one, on white as marketplaces want it.

    Args:
        cut_out: the product.
        background: the whole background.
        preset: the preview's shape.
        longer_px: its longer side in pixels.
    """
    frame = frame_size(preset, longer_px)
    product = Size(cut_out.alpha.shape[1], cut_out.alpha.shape[0])
    if background is None:
        box = place_in_middle(product, frame)
        color, alpha = scale_product(cut_out, Size(box.width, box.height))
        canvas = np.full((frame.height, frame.width, 3), 255, dtype=np.uint8)
        shadow = shadows.cast_contact_only(alpha, box, frame)
    else:
        scene = read_scene(background, preset.aspect)
        box = place(product, frame, scene.line, scene.center)
        color, alpha = scale_product(cut_out, Size(box.width, box.height))
        canvas = scale(scene.frame.cut(background), frame)
        shadow = shadows.cast(alpha, box, frame, measure_light(canvas), scene.surface_edge)
    _darken(canvas, shadow)
    _lay_over(canvas, color, alpha, box)
    return Preview(canvas, box, box.width / product.width * cut_out.scale)


def scale_product(cut_out: CutOut, size: Size) -> tuple[Pixels, Alpha]:
    """The product at a size, colours and opacity apart: the colours of the photo alone decide about the product's."""
    color = scale(cut_out.color, size)
    shrinking = size.height < cut_out.alpha.shape[0]
    kind = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return color, np.asarray(cv2.resize(cut_out.alpha, (size.width, size.height), interpolation=kind))


def scale(rgb: Pixels, size: Size) -> Pixels:
    """A picture at another size."""
    kind = cv2.INTER_AREA if size.height < rgb.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (size.width, size.height), interpolation=kind))


def _darken(canvas: Pixels, shadow: Shadow) -> None:
    """Takes light from a picture, in place; where none is taken it stays as it is, to the bit."""
    shaded = shadow.min(axis=-1) < _UNSHADED
    if not shaded.any():
        return
    window = bounds(shaded)
    canvas[window] = to_srgb(to_linear(canvas[window]) * shadow[window])


def _lay_over(canvas: Pixels, color: Pixels, alpha: Alpha, box: Box) -> None:
    """Puts the product into a picture, in place: its own bytes where opaque, blended in linear light where not."""
    window = canvas[box.top : box.top + box.height, box.left : box.left + box.width]
    window[alpha == 255] = color[alpha == 255]
    soft = (alpha > 0) & (alpha < 255)
    opacity = alpha[soft].astype(np.float32)[:, None] / np.float32(255)
    window[soft] = to_srgb(to_linear(color[soft]) * opacity + to_linear(window[soft]) * (1 - opacity))
