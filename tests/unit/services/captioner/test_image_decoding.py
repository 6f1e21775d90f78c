import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from chassis.errors import InvalidArgument
from services.captioner.image_decoding import WORK_SIDE_PX, Limits, decode
from tests.unit.services.captioner.fakes import a_photo, encode

# Pillow warns of damage that it can do without; as errors, warnings would make it refuse what it reads.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LIMITS = Limits()


def refusal(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(InvalidArgument) as caught:
        decode(data, limits)
    assert [each.field for each in caught.value.violations] == ["image"]
    return caught.value.message


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds the beginning of its pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")


def test_an_empty_file_is_refused() -> None:
    assert "empty" in refusal(b"")


def test_a_text_file_with_a_photos_name_is_refused_with_the_formats_that_are_read() -> None:
    message = refusal(b"To be, or not to be, that is the question.\n" * 20)

    assert "not a photo" in message
    assert "JPEG, PNG, WEBP" in message


def test_a_truncated_jpeg_is_refused() -> None:
    noise = Image.effect_noise((800, 600), 80)
    whole = encode(noise)

    assert "truncated" in refusal(whole[: len(whole) // 2])


def test_a_jpeg_that_is_cut_in_its_header_is_refused() -> None:
    refusal(encode(a_photo())[:30])


def test_a_decompression_bomb_is_refused_from_its_header() -> None:
    started = time.perf_counter()

    message = refusal(png_header(50_000, 50_000))

    assert "50,000 x 50,000 pixels are over the limit of 100 megapixels" in message
    assert time.perf_counter() - started < 1


def test_a_file_with_too_many_bytes_is_refused_before_it_is_looked_at() -> None:
    assert "over the limit of 1,000" in refusal(bytes(1001), Limits(max_bytes=1000))


def test_a_photo_just_within_the_limit_on_pixels_is_read() -> None:
    photo = decode(encode(a_photo(size=(100, 100))), Limits(max_pixels=10_000))

    assert (photo.width, photo.height) == (100, 100)


@pytest.mark.parametrize(
    ("form", "content_type"),
    [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), ("GIF", "image/gif"), ("BMP", "image/bmp")],
)
def test_each_format_is_read_and_named(form: str, content_type: str) -> None:
    photo = decode(encode(a_photo("blue"), form), LIMITS)

    assert photo.content_type == content_type
    np.testing.assert_allclose(np.asarray(photo.image).mean(axis=(0, 1)), (0, 0, 255), atol=3)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_large_photo_is_scaled_down_but_its_true_size_is_told(form: str) -> None:
    photo = decode(encode(a_photo(size=(3000, 2000)), form), LIMITS)

    assert (photo.width, photo.height) == (3000, 2000)
    assert WORK_SIDE_PX <= photo.image.width < 2 * WORK_SIDE_PX
    assert photo.image.width / photo.image.height == pytest.approx(1.5, abs=0.01)


def test_a_small_photo_is_not_scaled_up() -> None:
    assert decode(encode(a_photo(size=(40, 30))), LIMITS).image.size == (40, 30)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_a_photo_of_one_pixel_a_side_is_read(size: tuple[int, int]) -> None:
    assert min(decode(encode(a_photo(size=size), "PNG"), LIMITS).image.size) == 1


@pytest.mark.parametrize("size", [(60, 40), (3000, 2000)])
def test_exif_orientation_is_applied(size: tuple[int, int]) -> None:
    sideways = a_photo("white", size)
    sideways.paste("red", (0, 0, size[0] // 2, size[1]))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: left becomes top

    photo = decode(encode(sideways, exif=exif), LIMITS)

    assert (photo.width, photo.height) == (size[1], size[0])
    top = np.asarray(photo.image)[0, photo.image.width // 2]
    np.testing.assert_allclose(top, (254, 0, 0), atol=3)


def test_damaged_exif_data_does_no_harm() -> None:
    assert decode(encode(a_photo(), exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff"), LIMITS).width == 64


def test_transparency_is_composited_on_white_and_kept_as_alpha() -> None:
    logo = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    logo.paste((255, 0, 0, 255), (5, 5, 15, 15))

    photo = decode(encode(logo, "PNG"), LIMITS)

    assert photo.image.getpixel((0, 0)) == (255, 255, 255)
    assert photo.image.getpixel((10, 10)) == (255, 0, 0)
    assert photo.alpha is not None
    assert (photo.alpha[0, 0], photo.alpha[10, 10]) == (0, 255)


def test_an_opaque_alpha_channel_counts_as_none() -> None:
    assert decode(encode(Image.new("RGBA", (20, 20), "red"), "PNG"), LIMITS).alpha is None


def test_a_palette_with_a_transparent_entry_is_read_as_transparency() -> None:
    logo = Image.new("P", (20, 20), 0)
    logo.putpalette([0, 0, 0, 255, 0, 0])
    logo.paste(1, (5, 5, 15, 15))

    photo = decode(encode(logo, "PNG", transparency=0), LIMITS)

    assert photo.image.getpixel((0, 0)) == (255, 255, 255)
    assert photo.image.getpixel((10, 10)) == (255, 0, 0)


def test_sixteen_bit_grey_keeps_its_tones() -> None:
    grey = Image.fromarray(np.full((20, 20), 0x8000, dtype=np.uint16))

    assert decode(encode(grey, "PNG"), LIMITS).image.getpixel((5, 5)) == (128, 128, 128)


def test_cmyk_is_read() -> None:
    photo = decode(encode(a_photo().convert("CMYK")), LIMITS)

    assert photo.image.mode == "RGB"
    np.testing.assert_allclose(np.asarray(photo.image).mean(axis=(0, 1)), (254, 0, 0), atol=6)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF"]), st.data())
def test_damage_anywhere_gives_a_photo_or_a_refusal(form: str, data: st.DataObject) -> None:
    encoded = bytearray(encode(a_photo("red", (40, 30), background="white"), form))
    for _ in range(data.draw(st.integers(1, 6))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))

    try:
        photo = decode(bytes(encoded), Limits(max_pixels=1_000_000))
    except InvalidArgument:
        return
    assert photo.image.mode == "RGB"
