"""Encoded photos to pixels, within limits that are checked before anything is decoded."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from chassis.errors import InvalidArgument

# Photos are read at this size or up to twice it: enough to cut a model's input from a product that is a third as wide.
WORK_SIDE_PX = 768
# Pillow opens more, but some of that runs other programs (EPS) or is no photo.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
# Orientations of EXIF that swap width and height.
_TRANSPOSED = {5, 6, 7, 8}

# Pillow's own limit warns or raises by a global; ours is checked below, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest photo that is read."""

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 100_000_000


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo, upright.

    Attributes:
        image: RGB, scaled down by a whole factor as far as its longer side stays `WORK_SIDE_PX` or more, composited on
            white.
        alpha: opacity of `image`, uint8 of shape (height, width); None when the photo has no transparent pixel.
        width: of the full photo, in pixels.
        height: of the full photo, in pixels.
        content_type: its format's media type, such as `image/jpeg`.
    """

    image: Image.Image
    alpha: NDArray[np.uint8] | None
    width: int
    height: int
    content_type: str


def decode(data: bytes, limits: Limits) -> Photo:
    """Decodes a photo.

    Raises:
        InvalidArgument: `data` is empty, no photo, damaged, or over a limit. The field is `image`.
    """
    if not data:
        raise _invalid("it is empty; send the bytes of a photo")
    if len(data) > limits.max_bytes:
        raise _invalid(f"it has {len(data):,} bytes, over the limit of {limits.max_bytes:,}; send a smaller photo")
    with _open(data) as image:
        width, height = _upright_size(image)
        if width * height > limits.max_pixels:
            raise _invalid(
                f"{width:,} x {height:,} pixels are over the limit of {limits.max_pixels / 1e6:g} megapixels; "
                "scale the photo down"
            )
        content_type = _content_type(image)
        upright = _load_upright(image)
    rgb, alpha = _flatten(upright)
    return Photo(rgb, alpha, width, height, content_type)


def _invalid(description: str) -> InvalidArgument:
    return InvalidArgument.of("image", description)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise _invalid(f"it is not a photo in a format that is read ({', '.join(FORMATS)})") from None
    # A damaged header makes Pillow's decoders raise errors of many kinds.
    except Exception as error:
        raise _invalid("its header is damaged; send the photo again") from error


def _content_type(image: Image.Image) -> str:
    # A JPEG that holds further pictures, as many phones write it, is still a JPEG.
    return "image/jpeg" if image.format == "MPO" else Image.MIME[image.format or ""]


def _upright_size(image: Image.Image) -> tuple[int, int]:
    if _orientation(image) in _TRANSPOSED:
        return image.height, image.width
    return image.size


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    # Damaged EXIF data is common, and no reason to refuse a photo.
    except Exception:
        return 1


def _load_upright(image: Image.Image) -> Image.Image:
    try:
        # Lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its size; other formats ignore it.
        scale = max(1, max(image.size) / WORK_SIDE_PX)
        image.draft("RGB", (round(image.width / scale), round(image.height / scale)))
        image.load()
    except Exception as error:
        raise _invalid("it is truncated or damaged; send the whole photo") from error
    factor = max(image.size) // WORK_SIDE_PX
    if factor > 1:
        image = _eight_bit(image).reduce(factor)
    return _turn_upright(image)


def _turn_upright(image: Image.Image) -> Image.Image:
    if _orientation(image) == 1:
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """`image` in a mode that can be resized well: palettes are resolved, 16-bit greys are scaled to 8 bits."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in {"P", "PA"} or image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def _flatten(image: Image.Image) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """The RGB of `image` on white, and its opacity where any pixel is transparent."""
    image = _eight_bit(image)
    if image.mode != "RGBA":
        return image, None
    alpha = np.asarray(image.getchannel("A"))
    white = Image.new("RGBA", image.size, "white")
    rgb = Image.alpha_composite(white, image).convert("RGB")
    return rgb, None if alpha.min() == 255 else alpha
