"""Photos to send: 800 x 800 JPEGs as shops have them, made from the sample library, the same each time."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.samples import LIBRARY

COUNT = 32
SIDE_PX = 800
SMALLEST_BYTES, LARGEST_BYTES = 200_000, 220_000


def read_photos(folder: Path) -> list[bytes]:
    """`COUNT` different photos of 200 to 220 kB, which are written to `folder` when they are not there."""
    paths = [folder / f"{number:02}.jpg" for number in range(COUNT)]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        for path, source in zip(paths, sorted(LIBRARY.glob("*.jpg"))[:COUNT], strict=True):
            path.write_bytes(_make_photo(source))
    return [path.read_bytes() for path in paths]


def _make_photo(source: Path) -> bytes:
    """The middle of a sample, with the noise of a camera's sensor: rendered pictures compress better than photos do."""
    with Image.open(source) as image:
        left, top = (image.width - SIDE_PX) // 2, (image.height - SIDE_PX) // 2
        pixels = np.asarray(image.convert("RGB").crop((left, top, left + SIDE_PX, top + SIDE_PX)), dtype=np.float32)
    noise = np.random.default_rng(0).normal(size=(SIDE_PX, SIDE_PX, 1)).astype(np.float32)
    low, high = 0.0, 32.0
    while True:
        strength = (low + high) / 2
        photo = _encode(pixels + strength * noise)
        if SMALLEST_BYTES <= len(photo) <= LARGEST_BYTES:
            return photo
        low, high = (strength, high) if len(photo) < SMALLEST_BYTES else (low, strength)


def _encode(pixels: NDArray[np.float32]) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(encoded, "JPEG", quality=88)
    return encoded.getvalue()
