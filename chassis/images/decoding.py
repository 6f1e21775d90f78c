"""Encoded photos to pixels, within limits that are checked before anything is decoded."""

import io
import logging
import math
import re
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, ExifTags, Image, UnidentifiedImageError
from pillow_heif import register_heif_opener

from chassis.errors import InvalidArgument
from chassis.images.color_profiles import to_srgb

# Pillow opens more, but some of that runs other programs (EPS) or is no photo.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "TIFF")
# A photo longer than this is a strip, of which the longer side decides how far it is scaled down.
_LONGEST_PROPORTION = 8
# Encoders write about ten. Each costs as much as a whole picture, whatever it adds.
_MAX_JPEG_SCANS = 32
_NEXT_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Pixels that are converted at once on the way to a smaller picture.
_BAND_PIXELS = 4_000_000
# Their readers turn the picture themselves.
_UPRIGHT_FORMATS = {"TIFF", "HEIF"}
_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING_TURNS = {5, 6, 7, 8}

# Pillow's own limit warns or raises by a global; ours is checked below, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
# Photos are decoded side by side in threads: one that took every core for itself would delay the rest.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
# What Pillow says of damaged metadata concerns nobody here, and a sender of many such files would fill the log.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest photo that is read."""

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 100_000_000


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo, upright.

    Attributes:
        image: sRGB, scaled down by a whole factor, composited on white.
        color: the same before it was composited; of a photo without transparency the same picture.
        alpha: opacity of `image`, uint8 of shape (height, width); None when the photo has no transparent pixel.
        width: of the full photo, in pixels.
        height: of the full photo, in pixels.
        content_type: its format's media type, such as `image/jpeg`.
    """

    image: Image.Image
    color: Image.Image
    alpha: NDArray[np.uint8] | None
    width: int
    height: int
    content_type: str


class _Unreadable(Exception):
    """Says what is wrong with a photo, and what to send instead."""


def decode(data: bytes, limits: Limits, side_px: int, field: str = "image") -> Photo:
    """Decodes a photo: its first frame, in sRGB, upright.

    Args:
        data: the encoded photo.
        limits: checked before any pixel is decoded.
        side_px: what the photo's shorter side keeps when the photo is scaled down; it is never scaled up. Of strips,
            more than eight times as long as wide, the longer side keeps eight times as much.
        field: of the request that the photo came in, for errors.

    Raises:
        InvalidArgument: `data` is empty, no photo, damaged, or over a limit; it names the field.
    """
    try:
        return _decode(data, limits, side_px)
    except _Unreadable as error:
        raise InvalidArgument.of(field, str(error)) from error


def _decode(data: bytes, limits: Limits, side_px: int) -> Photo:
    if not data:
        raise _Unreadable("it is empty; send the bytes of a photo")
    if len(data) > limits.max_bytes:
        raise _Unreadable(f"it has {len(data):,} bytes, over the limit of {limits.max_bytes:,}; send a smaller photo")
    with _open(data) as image:
        _check_pixels(image, limits)
        if image.format in {"JPEG", "MPO"}:
            _check_scans(data)
        orientation = _orientation(image)
        width, height = image.size if orientation not in _SWAPPING_TURNS else image.size[::-1]
        content_type = _content_type(image)
        color, opacity = _read(image, side_px, orientation)
    alpha = None if opacity is None else np.asarray(opacity)
    return Photo(_on_white(color, opacity), color, alpha, width, height, content_type)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise _Unreadable(f"it is not a photo in a format that is read ({', '.join(FORMATS)})") from None
    # A damaged header makes Pillow's decoders raise errors of many kinds.
    except Exception as error:
        raise _Unreadable("its header is damaged; send the photo again") from error


def _check_pixels(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if image.format == "TIFF":
        # A tile is decoded whole, even if the picture shows but a corner of it.
        tags = getattr(image, "tag_v2", {})
        width = max(width, _whole(tags.get(_TIFF_TILE_WIDTH)))
        height = max(height, _whole(tags.get(_TIFF_TILE_LENGTH)))
    if width * height > limits.max_pixels:
        raise _Unreadable(
            f"{width:,} x {height:,} pixels are over the limit of {limits.max_pixels / 1e6:g} megapixels; "
            "scale the photo down"
        )


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _check_scans(data: bytes) -> None:
    # Counting bytes is quick, but also finds what only looks like a scan inside metadata.
    if data.count(b"\xff\xda") > _MAX_JPEG_SCANS and _count_scans(data) > _MAX_JPEG_SCANS:
        raise _Unreadable(f"it is a JPEG of more than {_MAX_JPEG_SCANS} scans; save it again as an ordinary JPEG")


def _count_scans(data: bytes) -> int:
    """The number of scans up to the first picture's end, or one more than are allowed."""
    scans, position = 0, 2
    while scans <= _MAX_JPEG_SCANS and (marker := _NEXT_JPEG_MARKER.search(data, position)):
        kind = marker.group()[1]
        if kind == 0xD9:
            break
        scans += kind == 0xDA
        position = marker.end() + max(2, int.from_bytes(data[marker.end() : marker.end() + 2], "big"))
    return scans


def _content_type(image: Image.Image) -> str:
    # A JPEG that holds further pictures, as many phones write it, is still a JPEG.
    return "image/jpeg" if image.format == "MPO" else Image.MIME[image.format or ""]


def _orientation(image: Image.Image) -> int:
    if image.format in _UPRIGHT_FORMATS:
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    # Damaged EXIF data is common, and no reason to refuse a photo.
    except Exception:
        return 1


def _read(image: Image.Image, side_px: int, orientation: int) -> tuple[Image.Image, Image.Image | None]:
    try:
        excess = _excess(image, side_px)
        # Lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its size; other formats ignore it.
        image.draft(None, (math.floor(image.width / excess), math.floor(image.height / excess)))
        image.load()
        profile = image.info.get("icc_profile")
        small = _reduce(image, math.floor(_excess(image, side_px)))
        if orientation in _TURNS:
            small = small.transpose(_TURNS[orientation])
        return _split(small, profile if isinstance(profile, bytes) else b"")
    except Exception as error:
        raise _Unreadable("it is truncated or damaged; send the whole photo") from error


def _excess(image: Image.Image, side_px: int) -> float:
    """How many times larger than needed `image` is, at least 1."""
    return max(1, min(image.size) / side_px, max(image.size) / (_LONGEST_PROPORTION * side_px))


def _reduce(image: Image.Image, factor: int) -> Image.Image:
    """`image` with 8 bits a channel, at a whole fraction of its size.

    By bands, so that a large picture of an unusual mode is never whole in memory a second time.
    """
    white = _white_level(image)
    if factor == 1:
        return _eight_bit(image, white)
    rows = max(1, _BAND_PIXELS // (image.width * factor))
    bands = [
        _eight_bit(image.crop((0, top, image.width, min(image.height, top + rows * factor))), white).reduce(factor)
        for top in range(0, image.height, rows * factor)
    ]
    reduced = Image.new(bands[0].mode, (bands[0].width, sum(band.height for band in bands)))
    for index, band in enumerate(bands):
        reduced.paste(band, (0, index * rows))
    return reduced


def _white_level(image: Image.Image) -> float:
    """The value of white in a mode of more than 8 bits, which no format of these tells."""
    if image.mode.startswith("I;16"):
        return 0xFFFF
    if image.mode not in {"I", "F"}:
        return 0xFF
    highest = float(np.max(image.getextrema()))
    usual = (1, 0xFF, 0xFFFF) if image.mode == "F" else (0xFF, 0xFFFF)
    return next((level for level in usual if highest <= level), highest if np.isfinite(highest) else 0xFFFF)


def _eight_bit(image: Image.Image, white: float) -> Image.Image:
    """`image` as L, LA, RGB, RGBA, CMYK or LAB."""
    if image.mode[0] in "IF":
        with np.errstate(all="ignore"):
            values = np.nan_to_num(np.asarray(image, dtype=np.float32) * (255 / white))
        return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))
    if image.mode in {"L", "LA", "RGBA", "CMYK", "LAB"} and "transparency" not in image.info:
        return image
    if image.mode in {"La", "PA", "RGBa"} or image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L") if image.mode == "1" else image.convert("RGB")


def _split(image: Image.Image, profile: bytes) -> tuple[Image.Image, Image.Image | None]:
    """The sRGB of `image`, and its opacity where any pixel is transparent."""
    if image.mode not in {"LA", "RGBA"}:
        return to_srgb(image, profile), None
    opacity = image.getchannel("A")
    color = to_srgb(image.convert("L" if image.mode == "LA" else "RGB"), profile)
    if opacity.getextrema()[0] == 255:
        return color, None
    return color, opacity


def _on_white(color: Image.Image, opacity: Image.Image | None) -> Image.Image:
    return color if opacity is None else Image.composite(color, Image.new("RGB", color.size, "white"), opacity)
