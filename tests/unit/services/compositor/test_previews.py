"""What previews promise: the product's own pixels, shadows of the old photo left behind, never cut by the frame."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from chassis.images.decoding import Photo
from services.compositor.cut_out import Source, cut_out
from services.compositor.errors import CutOutFailed
from services.compositor.light import to_linear, to_srgb
from services.compositor.placement import Preset, Size, frame_size, place, place_in_middle
from services.compositor.preview import render
from services.compositor.scene import find_surface_edge
from services.compositor.studio import to_lab

Pixels = NDArray[np.uint8]


def photo_of(pixels: Pixels) -> Photo:
    """What decoding gives for these pixels, of 3 or 4 channels."""
    height, width, channels = pixels.shape
    alpha = pixels[..., 3] if channels == 4 else None
    color = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    return Photo(image=color, color=color, alpha=alpha, width=width, height=height, content_type="image/png")


def studio(width: int = 400, height: int = 300, noise: float = 1.0, seed: int = 0) -> Pixels:
    """A light grey sweep, a bit darker to one side."""
    light = np.linspace(205, 235, width)[None, :, None] + np.random.default_rng(seed).normal(
        0, noise, (height, width, 1)
    )
    return np.clip(np.repeat(light, 3, axis=2), 0, 255).astype(np.uint8)


def with_product(pixels: Pixels, box: tuple[int, int, int, int], seed: int = 0, color: Any = (170, 40, 40)) -> Pixels:
    """An ellipse of grained colour in a photo; `box` is left, top, width, height."""
    left, top, width, height = box
    mask = np.zeros(pixels.shape[:2], np.uint8)
    cv2.ellipse(mask, (left + width // 2, top + height // 2), (width // 2, height // 2), 0, 0, 360, 1, -1)
    grain = np.random.default_rng(seed).integers(-25, 25, pixels.shape)
    product = np.clip(np.array(color) + grain, 0, 255).astype(np.uint8)
    return np.where(mask[..., None] > 0, product, pixels)


def background(width: int = 640, height: int = 480, seed: int = 1) -> Pixels:
    """A wall above a floor."""
    pixels = np.full((height, width, 3), (120, 140, 160), np.uint8)
    pixels[int(0.55 * height) :] = (90, 60, 40)
    grain = np.random.default_rng(seed).integers(-6, 6, pixels.shape)
    return np.clip(pixels + grain, 0, 255).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    box=st.tuples(st.integers(30, 150), st.integers(30, 100), st.integers(60, 200), st.integers(60, 150)),
    seed=st.integers(0, 1000),
    preset=st.sampled_from(list(Preset)),
    longer_px=st.integers(256, 900),
    with_alpha=st.booleans(),
)
def test_inside_the_mask_the_pixels_are_those_of_the_scaled_photo(
    box: tuple[int, int, int, int], seed: int, preset: Preset, longer_px: int, with_alpha: bool
) -> None:
    photo = with_product(studio(seed=seed), box, seed)
    pixels = photo
    if with_alpha:
        alpha = with_product(np.zeros_like(photo), box, seed, (255, 255, 255)).any(axis=-1) * np.uint8(255)
        pixels = np.dstack([photo, alpha])
    made = cut_out(photo_of(pixels))
    preview = render(made, None if preset is Preset.MARKETPLACE else background(), preset, longer_px)
    placed, taken = preview.box, made.box
    original = photo[taken.top : taken.top + taken.height, taken.left : taken.left + taken.width]
    size = (placed.width, placed.height)
    kind = cv2.INTER_AREA if placed.height < original.shape[0] else cv2.INTER_CUBIC
    scaled = cv2.resize(original, size, interpolation=kind)
    # As far from the edge as pixels are mixed when they are scaled.
    reach = 2 * max(2, round(2 * preview.scale)) + 1
    opaque = cv2.erode((made.alpha == 255).astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0)
    inside = cv2.erode(cv2.resize(opaque, size, interpolation=cv2.INTER_NEAREST), np.ones((reach, reach), np.uint8))
    shown = preview.pixels[placed.top : placed.top + placed.height, placed.left : placed.left + placed.width]
    assert inside.sum() > 50
    assert np.array_equal(shown[inside > 0], scaled[inside > 0])


def test_the_outline_is_found_and_sure() -> None:
    box = (120, 70, 160, 140)
    pixels = with_product(studio(), box)
    truth = with_product(np.zeros_like(pixels), box, 0, (200, 200, 200)).any(axis=-1)
    made = cut_out(photo_of(pixels))
    found = np.zeros(truth.shape, bool)
    found[made.box.top : made.box.top + made.box.height, made.box.left : made.box.left + made.box.width] = (
        made.alpha > 127
    )
    assert (found & truth).sum() / (found | truth).sum() > 0.96
    assert (made.source, made.quality.rough) == (Source.SEGMENTED, False)
    assert made.quality.confidence > 0.9


def test_a_shadow_is_not_part_of_the_product() -> None:
    pixels = studio()
    shadow = np.zeros(pixels.shape[:2], np.float32)
    cv2.ellipse(shadow, (230, 215), (110, 16), 0, 0, 360, 0.35, -1)
    shadow = cv2.GaussianBlur(shadow, (0, 0), 7)
    shaded = (pixels * (1 - shadow[..., None])).astype(np.uint8)
    made = cut_out(photo_of(with_product(shaded, (120, 70, 160, 140))))
    assert made.box.width < 180
    assert made.box.height < 155


def test_what_lies_on_a_noisy_background_like_itself_is_rough() -> None:
    random = np.random.default_rng(3)
    pixels = random.integers(60, 200, (300, 400, 3)).astype(np.uint8)
    pixels = cv2.GaussianBlur(pixels, (0, 0), 3)
    pixels = np.clip((pixels.astype(float) - 128) * 4 + 128, 0, 255).astype(np.uint8)
    made = cut_out(photo_of(with_product(pixels, (120, 70, 160, 140), color=(128, 128, 128))))
    assert made.quality.rough
    assert made.quality.reason.endswith(".")


def test_an_alpha_channel_is_taken_as_it_is() -> None:
    pixels = np.zeros((100, 100, 4), np.uint8)
    pixels[20:60, 30:80] = (10, 200, 30, 128)
    made = cut_out(photo_of(pixels))
    assert (made.source, made.quality.confidence) == (Source.ALPHA_CHANNEL, 1.0)
    assert (made.box.left, made.box.top, made.box.width, made.box.height) == (30, 20, 50, 40)
    assert set(np.unique(made.alpha)) == {128}


@pytest.mark.parametrize(
    ("pixels", "what"),
    [(np.full((50, 60, 3), 240, np.uint8), "stands out"), (np.zeros((50, 60, 4), np.uint8), "transparent")],
)
def test_a_photo_without_a_product_says_what_to_send(pixels: Pixels, what: str) -> None:
    with pytest.raises(CutOutFailed, match=what) as raised:
        cut_out(photo_of(pixels))
    assert [each.field for each in raised.value.violations] == ["image"]


@settings(max_examples=200)
@given(
    product=st.builds(Size, st.integers(1, 2048), st.integers(1, 2048)),
    preset=st.sampled_from(list(Preset)),
    longer_px=st.integers(256, 2048),
    line=st.floats(0.66, 0.88),
    center=st.floats(0, 1),
)
def test_a_product_is_never_cut_by_the_frame(
    product: Size, preset: Preset, longer_px: int, line: float, center: float
) -> None:
    frame = frame_size(preset, longer_px)
    assert max(frame.width, frame.height) == longer_px
    for box in (place(product, frame, line, center), place_in_middle(product, frame)):
        assert box.left >= 0
        assert box.top >= 0
        assert box.left + box.width <= frame.width
        assert box.top + box.height <= frame.height


def test_the_product_stands_on_the_floor_not_on_the_wall() -> None:
    edge = find_surface_edge(to_lab(background(192, 144)))
    assert edge == pytest.approx(0.55, abs=0.02)
    made = cut_out(photo_of(with_product(studio(), (120, 70, 160, 140))))
    preview = render(made, background(), Preset.LANDSCAPE, 960)
    assert (preview.box.top + preview.box.height) / preview.pixels.shape[0] > 0.6


def test_a_shadow_falls_under_the_product_and_nowhere_far_from_it() -> None:
    made = cut_out(photo_of(with_product(studio(), (120, 70, 160, 140))))
    plain = np.full((600, 600, 3), 200, np.uint8)
    preview = render(made, plain, Preset.SQUARE, 600)
    under = preview.pixels[preview.box.top + preview.box.height + 2, preview.box.left + preview.box.width // 2]
    assert under.max() < 190
    assert (preview.pixels[:40] == 200).all()


def test_a_marketplace_wants_pure_white_and_85_percent() -> None:
    made = cut_out(photo_of(with_product(studio(), (120, 70, 160, 140))))
    preview = render(made, None, Preset.MARKETPLACE, 1000)
    assert preview.pixels.shape == (1000, 1000, 3)
    assert (preview.pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert max(preview.box.width, preview.box.height) == 850


def test_every_byte_survives_linear_light() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_srgb(to_linear(every)), every)
