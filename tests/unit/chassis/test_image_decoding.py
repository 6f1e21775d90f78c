import contextlib
import resource
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from chassis.errors import InvalidArgument
from chassis.images.decoding import FORMATS, Limits, decode
from tests.hostile import hostile_images, png
from tests.unit.services.captioner.fakes import a_photo, encode

# Pillow warns of damage that it can do without; as errors, warnings would make it refuse what it reads.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LIMITS = Limits()
SIDE_PX = 768


def refusal(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(InvalidArgument) as caught:
        decode(data, limits, SIDE_PX)
    assert [each.field for each in caught.value.violations] == ["image"]
    return caught.value.message


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
    assert "50,000 x 50,000 pixels are over the limit of 100 megapixels" in refusal(png(50_000, 50_000))


def test_a_file_with_too_many_bytes_is_refused_before_it_is_looked_at() -> None:
    assert "over the limit of 1,000" in refusal(bytes(1001), Limits(max_bytes=1000))


def test_a_photo_just_within_the_limit_on_pixels_is_read() -> None:
    photo = decode(encode(a_photo(size=(100, 100))), Limits(max_pixels=10_000), SIDE_PX)

    assert (photo.width, photo.height) == (100, 100)


@pytest.mark.parametrize(
    ("form", "content_type"),
    [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), ("GIF", "image/gif"), ("BMP", "image/bmp")],
)
def test_each_format_is_read_and_named(form: str, content_type: str) -> None:
    photo = decode(encode(a_photo("blue"), form), LIMITS, SIDE_PX)

    assert photo.content_type == content_type
    np.testing.assert_allclose(np.asarray(photo.image).mean(axis=(0, 1)), (0, 0, 255), atol=3)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_large_photo_is_scaled_down_but_its_true_size_is_told(form: str) -> None:
    photo = decode(encode(a_photo(size=(3000, 2000)), form), LIMITS, SIDE_PX)

    assert (photo.width, photo.height) == (3000, 2000)
    assert SIDE_PX <= photo.image.width < 2 * SIDE_PX
    assert photo.image.width / photo.image.height == pytest.approx(1.5, abs=0.01)


def test_a_small_photo_is_not_scaled_up() -> None:
    assert decode(encode(a_photo(size=(40, 30))), LIMITS, SIDE_PX).image.size == (40, 30)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_a_photo_of_one_pixel_a_side_is_read(size: tuple[int, int]) -> None:
    assert min(decode(encode(a_photo(size=size), "PNG"), LIMITS, SIDE_PX).image.size) == 1


@pytest.mark.parametrize("size", [(60, 40), (3000, 2000)])
def test_exif_orientation_is_applied(size: tuple[int, int]) -> None:
    sideways = a_photo("white", size)
    sideways.paste("red", (0, 0, size[0] // 2, size[1]))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: left becomes top

    photo = decode(encode(sideways, exif=exif), LIMITS, SIDE_PX)

    assert (photo.width, photo.height) == (size[1], size[0])
    top = np.asarray(photo.image)[0, photo.image.width // 2]
    np.testing.assert_allclose(top, (254, 0, 0), atol=3)


def test_damaged_exif_data_does_no_harm() -> None:
    assert decode(encode(a_photo(), exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff"), LIMITS, SIDE_PX).width == 64


def test_transparency_is_composited_on_white_and_kept_as_alpha() -> None:
    logo = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    logo.paste((255, 0, 0, 255), (5, 5, 15, 15))

    photo = decode(encode(logo, "PNG"), LIMITS, SIDE_PX)

    assert photo.image.getpixel((0, 0)) == (255, 255, 255)
    assert photo.image.getpixel((10, 10)) == (255, 0, 0)
    assert photo.alpha is not None
    assert (photo.alpha[0, 0], photo.alpha[10, 10]) == (0, 255)


def test_an_opaque_alpha_channel_counts_as_none() -> None:
    assert decode(encode(Image.new("RGBA", (20, 20), "red"), "PNG"), LIMITS, SIDE_PX).alpha is None


def test_a_palette_with_a_transparent_entry_is_read_as_transparency() -> None:
    logo = Image.new("P", (20, 20), 0)
    logo.putpalette([0, 0, 0, 255, 0, 0])
    logo.paste(1, (5, 5, 15, 15))

    photo = decode(encode(logo, "PNG", transparency=0), LIMITS, SIDE_PX)

    assert photo.image.getpixel((0, 0)) == (255, 255, 255)
    assert photo.image.getpixel((10, 10)) == (255, 0, 0)


def test_sixteen_bit_grey_keeps_its_tones() -> None:
    grey = Image.fromarray(np.full((20, 20), 0x8000, dtype=np.uint16))

    assert decode(encode(grey, "PNG"), LIMITS, SIDE_PX).image.getpixel((5, 5)) == (128, 128, 128)


def test_cmyk_is_read() -> None:
    photo = decode(encode(a_photo().convert("CMYK")), LIMITS, SIDE_PX)

    assert photo.image.mode == "RGB"
    np.testing.assert_allclose(np.asarray(photo.image).mean(axis=(0, 1)), (254, 0, 0), atol=6)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF"]), st.data())
def test_damage_anywhere_gives_a_photo_or_a_refusal(form: str, data: st.DataObject) -> None:
    encoded = bytearray(encode(a_photo("red", (40, 30), background="white"), form))
    for _ in range(data.draw(st.integers(1, 6))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))

    try:
        photo = decode(bytes(encoded), Limits(max_pixels=1_000_000), SIDE_PX)
    except InvalidArgument:
        return
    assert photo.image.mode == "RGB"


def matrix_profile(primaries: str) -> bytes:
    """A minimal ICC profile (version 2) of a display or camera space, with a gamma of 2.2."""
    columns = {
        "P3": ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
        "Adobe RGB": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    }[primaries]
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(2.2 * 256)) + bytes(2)
    tags = {b"wtpt": xyz(0.9642, 1.0, 0.8249)}
    for letter, column in zip(b"rgb", columns, strict=True):
        tags[bytes([letter]) + b"XYZ"] = xyz(*column)
        tags[bytes([letter]) + b"TRC"] = curve
    return icc(b"RGB ", tags)


def grey_profile(gamma: float) -> bytes:
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + bytes(2)
    return icc(b"GRAY", {b"wtpt": xyz(0.9642, 1.0, 0.8249), b"kTRC": curve})


def xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">iii", *(round(value * 65536) for value in (x, y, z)))


def icc(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + xyz(0.9642, 1.0, 0.8249)[8:] + bytes(48)
    return header + struct.pack(">I", len(tags)) + table + body


@pytest.mark.parametrize(
    ("primaries", "color", "expected"),
    [
        # Colours inside sRGB, computed from the spaces' published matrices.
        ("P3", (200, 100, 100), (214, 95, 97)),
        ("P3", (255, 0, 0), (255, 0, 0)),
        ("P3", (128, 128, 128), (128, 128, 128)),
        ("Adobe RGB", (200, 100, 100), (228, 99, 99)),
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_a_colour_profile_is_converted_to_srgb(
    form: str, primaries: str, color: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    photo = decode(encode(a_photo(color), form, icc_profile=matrix_profile(primaries)), LIMITS, SIDE_PX)

    np.testing.assert_allclose(np.asarray(photo.image).mean(axis=(0, 1)), expected, atol=5)


def test_a_profile_of_greys_is_converted() -> None:
    grey = Image.new("L", (20, 20), 128)

    light = decode(encode(grey, "JPEG", icc_profile=grey_profile(1.0)), LIMITS, SIDE_PX).image.getpixel((5, 5))

    np.testing.assert_allclose(light, (188, 188, 188), atol=2)


@pytest.mark.parametrize("profile", [b"x", bytes(128), bytes(16) + b"RGB " + bytes(200), grey_profile(2.2)])
def test_a_broken_or_foreign_profile_is_ignored(profile: bytes) -> None:
    photo = decode(encode(a_photo((200, 100, 50)), "PNG", icc_profile=profile), LIMITS, SIDE_PX)

    assert photo.image.getpixel((5, 5)) == (200, 100, 50)


def test_srgb_under_any_name_is_left_as_it_is() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    assert decode(encode(a_photo((3, 140, 77)), "PNG", icc_profile=profile), LIMITS, SIDE_PX).image.getpixel(
        (0, 0)
    ) == (
        3,
        140,
        77,
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_once_in_every_format(form: str, orientation: int) -> None:
    upright = a_photo("white", (96, 64))
    upright.paste("red", (0, 0, 48, 32))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    # pillow-heif takes the orientation for itself, and turns the file's picture accordingly.
    photo = decode(encode(stored, form, exif=exif.tobytes()), LIMITS, SIDE_PX)

    assert (photo.width, photo.height) == photo.image.size == (96, 64)
    corners = [np.asarray(photo.image)[y, x, 1] for y, x in ((10, 10), (10, 85), (55, 10), (55, 85))]
    np.testing.assert_allclose(corners, (0, 255, 255, 255), atol=25)


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (np.full((20, 20), 0x8080, dtype=np.uint16), "TIFF"),
        (np.full((20, 20), 0x8080, dtype=">u2"), "TIFF"),
        (np.full((20, 20), 0x8080, dtype=np.uint16), "PNG"),
        (np.full((20, 20), 128, dtype=np.int32), "TIFF"),
        (np.full((20, 20), 128 / 255, dtype=np.float32), "TIFF"),
        (np.full((20, 20), 128.0, dtype=np.float32), "TIFF"),
    ],
)
@pytest.mark.parametrize("side_px", [5, SIDE_PX])
def test_deep_greys_keep_their_tones(values: NDArray[Any], form: str, side_px: int) -> None:
    values[0, 0] = 0

    photo = decode(encode(Image.fromarray(values), form), LIMITS, side_px)

    np.testing.assert_allclose(photo.image.getpixel((4, 4)), (128, 128, 128), atol=1)


def test_sixteen_bit_colours_are_read() -> None:
    encoded = cv2.imencode(".png", np.full((20, 20, 3), (0x2020, 0x8080, 0xF0F0), dtype=np.uint16))[1].tobytes()

    assert decode(encoded, LIMITS, SIDE_PX).image.getpixel((5, 5)) == (0xF0, 0x80, 0x20)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF", "TIFF", "MPO"])
def test_the_first_picture_of_many_is_read(form: str) -> None:
    frames = [a_photo(color, (64, 64)) for color in ("red", "lime", "blue")]

    photo = decode(encode(frames[0], form, save_all=True, append_images=frames[1:]), LIMITS, SIDE_PX)

    np.testing.assert_allclose(np.asarray(photo.image).mean(axis=(0, 1)), (255, 0, 0), atol=4)
    assert form != "MPO" or photo.content_type == "image/jpeg"


@pytest.mark.parametrize("side_px", [10, SIDE_PX])
def test_grey_with_alpha_is_composited_on_white(side_px: int) -> None:
    picture = Image.new("LA", (40, 40), (0, 128))

    photo = decode(encode(picture, "PNG"), LIMITS, side_px)

    np.testing.assert_allclose(photo.image.getpixel((5, 5)), (127, 127, 127), atol=1)


def test_a_wholly_transparent_photo_is_white() -> None:
    photo = decode(encode(Image.new("RGBA", (9, 9), (255, 0, 0, 0)), "PNG"), LIMITS, SIDE_PX)

    assert photo.image.getcolors() == [(81, (255, 255, 255))]
    assert photo.alpha is not None
    assert photo.alpha.max() == 0


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "1", "I;16", "F", "RGBA", "LAB"])
def test_a_large_photo_of_any_mode_is_scaled_to_the_side_that_is_asked_for(mode: str) -> None:
    grey = Image.new("L", (1300, 700), 200)
    picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else None
    picture = Image.new("LAB", grey.size, (200, 128, 128)) if mode == "LAB" else picture
    photo = decode(encode(picture or grey.convert("RGB").convert(mode), "TIFF"), LIMITS, 100)

    assert photo.image.mode == "RGB"
    assert photo.image.size == (186, 100)


@pytest.mark.parametrize(("size", "expected"), [((800, 800), (400, 400)), ((3000, 2000), (750, 500))])
def test_a_jpegs_shorter_side_keeps_what_is_asked_for(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert decode(encode(a_photo(size=size)), LIMITS, 400).image.size == expected


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded() -> None:
    whole = encode(a_photo(), progressive=True)
    scan = whole.rindex(b"\xff\xda")

    assert "scans" in refusal(whole[:scan] + whole[scan:-2] * 100 + whole[-2:])


def test_bytes_that_look_like_scans_inside_metadata_do_no_harm() -> None:
    assert decode(encode(a_photo(), comment=b"\xff\xda" * 100), LIMITS, SIDE_PX).width == 64


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_metadata_that_unpacks_to_gigabytes_is_no_burden(kind: bytes) -> None:
    prefix = b"a\0\1\0\0\0" if kind == b"iTXt" else b"a\0\0"
    bomb = png(100, 100, (kind, prefix + zlib.compress(bytes(200_000_000))))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with contextlib.suppress(InvalidArgument):
        decode(bomb, LIMITS, SIDE_PX)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_hostile_images_are_read_or_refused_and_good_ones_stay_as_they_were() -> None:
    good = [encode(a_photo("teal", (90, 60), background="white"), form) for form in FORMATS]
    alone = [decode(each, LIMITS, SIDE_PX).image.tobytes() for each in good]

    for hostile in hostile_images(1500, seed=3):
        with contextlib.suppress(InvalidArgument):
            photo = decode(hostile, LIMITS, 256)
            assert photo.image.mode == "RGB"

    assert [decode(each, LIMITS, SIDE_PX).image.tobytes() for each in good] == alone


def test_the_error_names_the_field_that_the_photo_came_in() -> None:
    with pytest.raises(InvalidArgument, match="background_image: it is empty") as caught:
        decode(b"", LIMITS, SIDE_PX, field="background_image")

    assert [each.field for each in caught.value.violations] == ["background_image"]


def test_colours_under_transparency_are_kept_apart() -> None:
    glass = Image.new("RGBA", (20, 20), (0, 40, 0, 51))

    photo = decode(encode(glass, "PNG"), LIMITS, SIDE_PX)

    assert photo.color.getpixel((5, 5)) == (0, 40, 0)
    np.testing.assert_allclose(photo.image.getpixel((5, 5)), (204, 212, 204), atol=1)
