"""What is done to a photo before the model sees it: decoding, finding the product, cutting views."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chassis.images.decoding import Limits, decode
from services.captioner.foreground import SIDE_PX, Box, Foreground, find_foreground, shrink
from services.captioner.image_input import ImageInput, Pixels
from services.captioner.views import cut_views

# Decoded sides, in sides of the model's input: for a view of the whole photo, and for one of a product within it.
_WHOLE_SIDES, _PRODUCT_SIDES = 1.5, 3.0


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A photo that is ready for the model.

    Attributes:
        views: what the model looks at, one or more.
        image: the decoded photo, RGB, scaled down.
        foreground: the product; None when it was not looked for, or nothing stood out.
        width: of the upright photo in pixels.
        height: of the upright photo in pixels.
        content_type: of the encoded photo, such as `image/jpeg`.
        decode_s: what all this took.
    """

    views: tuple[Pixels, ...]
    image: Image.Image
    foreground: Foreground | None
    width: int
    height: int
    content_type: str
    decode_s: float

    @property
    def box(self) -> Box | None:
        """Where the product is."""
        return self.foreground.box if self.foreground else None

    def main_pixels(self) -> NDArray[np.uint8]:
        """The product's pixels, or else those of the whole photo, scaled down: uint8 of shape (pixels, 3)."""
        return self.foreground.pixels if self.foreground else shrink(self.image).reshape(-1, 3)


def prepare(data: bytes, limits: Limits, image_input: ImageInput, *, cut_out: bool) -> PreparedPhoto:
    """Decodes a photo and cuts the model's views from it.

    Args:
        data: the encoded photo.
        limits: on photos.
        image_input: how the model takes images.
        cut_out: whether to look for a product, and to give it a view of its own.

    Raises:
        InvalidArgument: the photo is damaged or over a limit.
    """
    started = perf_counter()
    sides = _PRODUCT_SIDES if cut_out else _WHOLE_SIDES
    side_px = round(sides * max(image_input.width, image_input.height))
    photo = decode(data, limits, max(side_px, SIDE_PX))
    foreground = find_foreground(photo.image, photo.alpha) if cut_out else None
    views = cut_views(photo.image, foreground.box if foreground else None)
    return PreparedPhoto(
        views=tuple(image_input.prepare(_reduce(view, image_input)) for view in views),
        image=photo.image,
        foreground=foreground,
        width=photo.width,
        height=photo.height,
        content_type=photo.content_type,
        decode_s=perf_counter() - started,
    )


def _reduce(view: Image.Image, image_input: ImageInput) -> Image.Image:
    """A view scaled down by a whole factor as far as the model loses nothing: the resize that is left is cheap then."""
    factor = int(min(view.size) / (_WHOLE_SIDES * max(image_input.width, image_input.height)))
    return view.reduce(factor) if factor > 1 else view
