"""How a model takes its images: their size, and how a photo is brought to it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""sRGB images of one size, of shape (images, height, width, 3)."""

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# A photo of 1 x 20,000 pixels would fill gigabytes when its shorter side is brought to a model's; of such a strip only
# the middle is seen anyway.
_MAX_ASPECT = 16


@dataclass(frozen=True, slots=True)
class ImageInput:
    """What an image model was trained on. Plain values, so that it crosses from the model's process to others.

    Attributes:
        width: of the images, in pixels.
        height: of the images, in pixels.
        mean: of the red, green and blue channel, 0 to 1: what the model subtracts.
        std: what it divides by afterwards.
        resize: `shortest` fits the shorter side and crops the longer, `longest` fits the longer side and fills the
            rest, `squash` fits both sides and changes the proportions.
        interpolation: of the resize.
        fill: the grey of what `longest` leaves free, 0 to 255.
    """

    width: int
    height: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Literal["shortest", "longest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill: int = 0

    def prepare(self, image: Image.Image) -> Pixels:
        """An RGB image at the model's size, uint8 of shape (height, width, 3). The model itself normalises.

        The same pixels as open_clip's own transforms give, but for strips longer than 16 times their width.
        """
        if self.resize == "squash":
            return np.asarray(self._scale(image, self.width, self.height))
        if self.resize == "longest":
            return np.asarray(self._pad(self._scale(image, *self._lengths(image, max))))
        image = _without_ends(image)
        return np.asarray(self._crop(self._scale(image, *self._covering(image))))

    def _covering(self, image: Image.Image) -> tuple[int, int]:
        # Each of the two cases rounds in its own way in open_clip.
        if self.width != self.height:
            return self._lengths(image, min)
        if image.width <= image.height:
            return self.width, int(self.width * image.height / image.width)
        return int(self.width * image.width / image.height), self.width

    def _lengths(self, image: Image.Image, choose: Callable[[float, float], float]) -> tuple[int, int]:
        ratio = choose(image.height / self.height, image.width / self.width)
        return max(1, round(image.width / ratio)), max(1, round(image.height / ratio))

    def _scale(self, image: Image.Image, width: int, height: int) -> Image.Image:
        return image.resize((width, height), _FILTERS[self.interpolation])

    def _crop(self, image: Image.Image) -> Image.Image:
        left, top = round((image.width - self.width) / 2), round((image.height - self.height) / 2)
        return image.crop((left, top, left + self.width, top + self.height))

    def _pad(self, image: Image.Image) -> Image.Image:
        canvas = Image.new("RGB", (self.width, self.height), (self.fill,) * 3)
        canvas.paste(image, ((self.width - image.width) // 2, (self.height - image.height) // 2))
        return canvas


def _without_ends(image: Image.Image) -> Image.Image:
    longest = _MAX_ASPECT * min(image.width, image.height)
    width, height = min(image.width, longest), min(image.height, longest)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height)) if (width, height) != image.size else image
