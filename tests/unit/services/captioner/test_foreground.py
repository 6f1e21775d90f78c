import contextlib

import numpy as np
import pytest
from PIL import Image

from chassis.errors import InvalidArgument
from chassis.images.decoding import Limits, decode
from services.captioner.foreground import find_foreground
from services.captioner.views import cut_views
from tests.hostile import hostile_images
from tests.unit.services.captioner.fakes import a_photo


def test_a_product_on_a_plain_background_is_found() -> None:
    foreground = find_foreground(a_photo("navy", (400, 300), background="lightgray"), None)

    assert foreground is not None
    box = foreground.box
    np.testing.assert_allclose((box.left, box.top, box.right, box.bottom), (0.25, 0.25, 0.75, 0.75), atol=0.03)
    np.testing.assert_allclose(np.median(foreground.pixels, axis=0), (0, 0, 128), atol=5)


def test_a_product_on_a_gradient_is_found() -> None:
    gradient = np.linspace(250, 180, 300)[:, None, None] * np.ones((1, 400, 3))
    photo = Image.fromarray(gradient.astype(np.uint8))
    photo.paste("darkred", (150, 100, 250, 220))

    foreground = find_foreground(photo, None)

    assert foreground is not None
    assert foreground.mask.mean() == pytest.approx(0.1, abs=0.02)


def test_a_product_that_touches_the_edge_is_found() -> None:
    photo = a_photo("white", (400, 300))
    photo.paste("darkgreen", (150, 60, 300, 300))

    foreground = find_foreground(photo, None)

    assert foreground is not None
    assert foreground.box.bottom == 1


def test_nothing_stands_out_of_a_plain_picture() -> None:
    assert find_foreground(a_photo("beige"), None) is None


def test_a_speck_is_no_product() -> None:
    photo = a_photo("white", (400, 300))
    photo.paste("black", (200, 150, 206, 156))

    assert find_foreground(photo, None) is None


def test_the_alpha_channel_is_taken_as_it_is() -> None:
    alpha = np.zeros((300, 400), dtype=np.uint8)
    alpha[100:200, 40:200] = 255

    foreground = find_foreground(a_photo("white", (400, 300)), alpha)

    assert foreground is not None
    box = foreground.box
    np.testing.assert_allclose((box.left, box.top, box.right, box.bottom), (0.1, 1 / 3, 0.5, 2 / 3), atol=0.02)


def test_the_same_photo_always_gives_the_same_foreground() -> None:
    photo = Image.effect_noise((200, 150), 60).convert("RGB")
    photo.paste("orange", (60, 40, 140, 110))

    first, second = find_foreground(photo, None), find_foreground(photo, None)

    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.mask, second.mask)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 700), (700, 1), (3, 500)])
def test_tiny_and_narrow_pictures_do_no_harm(size: tuple[int, int]) -> None:
    for photo in (a_photo("red", size), Image.effect_noise(size, 90).convert("RGB")):
        foreground = find_foreground(photo, None)
        assert all(min(view.size) >= 1 for view in cut_views(photo, foreground.box if foreground else None))


def test_the_second_view_is_the_square_around_the_product() -> None:
    photo = a_photo("white", (400, 300))
    photo.paste("navy", (20, 20, 80, 140))
    foreground = find_foreground(photo, None)
    assert foreground is not None

    whole, product = cut_views(photo, foreground.box)

    assert whole.size == (400, 300)
    assert abs(product.width - product.height) <= 1
    assert product.width == pytest.approx(120 * 1.15, abs=6)
    assert np.mean(np.asarray(product) == (0, 0, 128)) > 0.35


def test_a_product_that_fills_the_photo_has_no_second_view() -> None:
    photo = a_photo("white", (300, 300))
    photo.paste("navy", (8, 8, 292, 292))
    foreground = find_foreground(photo, None)
    assert foreground is None or len(cut_views(photo, foreground.box)) == 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_whatever_can_be_decoded_can_be_searched() -> None:
    for hostile in hostile_images(800, seed=3):
        with contextlib.suppress(InvalidArgument):
            photo = decode(hostile, Limits(), 256)
            find_foreground(photo.image, photo.alpha)
