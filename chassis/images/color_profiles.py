"""Colours of an embedded ICC profile to sRGB."""

import io
import logging
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK", "LAB": b"Lab "}
# Those of printers reach some megabytes; cached ones stay in memory.
_MAX_PROFILE_BYTES = 4 * 1024 * 1024
_CACHED_TRANSFORMS = 16
# Profiles that change no colour by more than this are sRGB under one of its many names.
_SAME_LEVELS = 2

_log = logging.getLogger(__name__)


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """`image` as sRGB.

    A profile that is broken, or for another kind of colours than the image has, is ignored: the photo is still worth
    reading.

    Args:
        image: of mode L, RGB, CMYK or LAB.
        profile: of its colours, in ICC's format; may be empty.
    """
    transform = _transform(profile, image.mode) if _is_for(profile, image.mode) else None
    if transform is None and image.mode == "LAB":
        transform = _lab_transform()
    if transform is not None:
        return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_for(profile: bytes, mode: str) -> bool:
    return len(profile) <= _MAX_PROFILE_BYTES and profile[16:20] == _SPACES[mode]


@lru_cache(_CACHED_TRANSFORMS)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None when the profile is broken or no conversion is needed."""
    try:
        transform = _build(ImageCms.ImageCmsProfile(io.BytesIO(profile)), mode)
        return transform if _changes(transform, mode) else None
    except Exception as error:
        _log.info("ignored a broken colour profile: %s", error)
        return None


@lru_cache(1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    return _build(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB")


def _build(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    return ImageCms.ImageCmsTransform(
        profile,
        srgb,
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    if mode not in {"L", "RGB"}:
        return True
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(9, 81, 3)
    probe = Image.fromarray(colors).convert(mode)
    before, after = np.asarray(probe.convert("RGB"), np.int16), np.asarray(transform.apply(probe), np.int16)
    return bool(np.abs(before - after).max() > _SAME_LEVELS)
