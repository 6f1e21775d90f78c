"""Images as an attacker or a broken disk sends them, to be thrown at whatever reads images."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "TIFF")
_MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "AVIF": ("RGB", "RGBA"),
    "HEIF": ("RGB", "RGBA", "L"),
    "GIF": ("P", "RGB"),
    "BMP": ("RGB", "L", "1"),
    "TIFF": ("RGB", "RGBA", "CMYK", "L", "P", "I;16", "F", "I", "LAB"),
}
_BOMB = zlib.compress(bytes(8_000_000))
_SIZES = ((1, 1), (1, 20_000), (20_000, 1), (2, 3), (1, 300), (300, 1))


def hostile_images(count: int, seed: int) -> Iterator[bytes]:
    """`count` files, the same for the same seed: most are no valid image, the rest are unusual ones."""
    draw = random.Random(seed)
    seeds = _whole_images()
    for _ in range(count):
        yield draw.choice(_KINDS)(draw, seeds)


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG that claims a size, with further chunks before its few pixels."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = (b"IDAT", zlib.compress(bytes(100_000)))
    body = b"".join(_chunk(*each) for each in (header, *chunks, pixels, (b"IEND", b"")))
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _encode(image: Image.Image, form: str, **options: Any) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, form, **options)
    return encoded.getvalue()


def _whole_images() -> list[bytes]:
    """One of each format and mode, and animations."""
    noise = np.random.default_rng(0).integers(0, 256, (37, 53, 4), dtype=np.uint8)
    picture = Image.fromarray(noise)
    images = []
    for form, modes in _MODES.items():
        images += [_encode(_convert(picture, mode), form) for mode in modes]
    images += [_encode(picture.convert("RGB"), "TIFF", compression=each) for each in ("tiff_lzw", "jpeg", "packbits")]
    images.append(_encode(picture.convert("RGB"), "JPEG", progressive=True))
    frames = [picture.convert("RGB"), picture.convert("RGB").rotate(180)]
    for form in ("GIF", "WEBP", "PNG", "AVIF", "TIFF", "MPO"):
        images.append(_encode(frames[0], form, save_all=True, append_images=frames[1:]))
    return images


def _convert(picture: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    if mode == "LAB":
        return Image.frombytes("LAB", picture.size, picture.convert("RGB").tobytes())
    return picture.convert("RGB").convert(mode) if mode not in {"RGBA", "LA"} else picture.convert(mode)


def _truncated(draw: random.Random, seeds: list[bytes]) -> bytes:
    data = draw.choice(seeds)
    return data[: draw.randrange(len(data))]


def _mutated(draw: random.Random, seeds: list[bytes]) -> bytes:
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 2, 8, 64))):
        data[draw.randrange(len(data))] = draw.choice((0, 0x7F, 0x80, 0xFF, draw.randrange(256)))
    return bytes(data)


def _header_mutated(draw: random.Random, seeds: list[bytes]) -> bytes:
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 2, 4))):
        position = draw.randrange(min(len(data), 300))
        value = draw.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4), b"\xff\xff", b"\x00\x01\x00\x00"))
        data[position : position + len(value)] = value
    return bytes(data)


def _tail_mutated(draw: random.Random, seeds: list[bytes]) -> bytes:
    # TIFF keeps its tags at the end.
    data = draw.choice(seeds)
    start = max(0, len(data) - 300)
    return data[:start] + _header_mutated(draw, [data[start:] or b"\0"])


def _spliced(draw: random.Random, seeds: list[bytes]) -> bytes:
    first, second = draw.choice(seeds), draw.choice(seeds)
    return first[: draw.randrange(len(first))] + second[draw.randrange(len(second)) :]


def _polyglot(draw: random.Random, seeds: list[bytes]) -> bytes:
    other = draw.choice(
        (b"%PDF-1.7\n", b"PK\x03\x04", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF\n")
    )
    data = draw.choice(seeds)
    return draw.choice((other + data, data + other, data + draw.choice(seeds)))


def _huge_header(draw: random.Random, seeds: list[bytes]) -> bytes:
    side = draw.choice((20_000, 65_535, 1_000_000, 2**31 - 1))
    gif = b"GIF89a" + struct.pack("<HHBBB", min(side, 65_535), 65_535, 0, 0, 0)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02D\x01\x00;"
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 58, 0, 0, 54, 40, side, side, 1, 24, 0, 4, 0, 0, 0, 0) + bytes(4)
    bomb, profile = ((kind, b"a\0\0" + _BOMB) for kind in (b"zTXt", b"iCCP"))
    return draw.choice((png(side, side), png(20_000, side), gif + frame, bmp, png(8, 8, bomb), png(8, 8, profile)))


def _unusual_size(draw: random.Random, seeds: list[bytes]) -> bytes:
    size = draw.choice(_SIZES)
    form = draw.choice([each for each in FORMATS if max(size) <= 16_000 or each not in {"WEBP", "AVIF", "HEIF"}])
    return _encode(Image.new("RGB", size, draw.choice(("red", "white", "navy"))), form)


def _transparent(draw: random.Random, seeds: list[bytes]) -> bytes:
    color = (draw.randrange(256), draw.randrange(256), 0, 0)
    return _encode(
        Image.new("RGBA", draw.choice(((30, 20), (1, 1), (1, 500))), color), draw.choice(("PNG", "WEBP", "TIFF"))
    )


def _scan_bomb(draw: random.Random, seeds: list[bytes]) -> bytes:
    data = _encode(Image.new("RGB", (64, 64), "red"), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * draw.choice((40, 1000)) + data[-2:]


def _bad_profile(draw: random.Random, seeds: list[bytes]) -> bytes:
    profile = (
        draw.randbytes(16) + draw.choice((b"RGB ", b"CMYK", b"GRAY")) + draw.randbytes(draw.choice((0, 12, 120, 3000)))
    )
    return _encode(Image.new("RGB", (20, 20), "red"), draw.choice(("JPEG", "PNG", "TIFF", "WEBP")), icc_profile=profile)


def _no_image(draw: random.Random, seeds: list[bytes]) -> bytes:
    return draw.choice((b"", b"\0", b"To be, or not to be\n" * 50, draw.randbytes(draw.randrange(2000)), bytes(5000)))


_KINDS: tuple[Callable[[random.Random, list[bytes]], bytes], ...] = (
    _truncated,
    _mutated,
    _mutated,
    _header_mutated,
    _header_mutated,
    _tail_mutated,
    _spliced,
    _polyglot,
    _huge_header,
    _unusual_size,
    _transparent,
    _scan_bomb,
    _bad_profile,
    _no_image,
)
