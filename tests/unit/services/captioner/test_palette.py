import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from services.captioner.color_names import COLOR_ANCHORS
from services.captioner.palette import ColorNamer, find_clusters, name_palette, to_lab


def pixels(**colors: int) -> NDArray[np.uint8]:
    values = {"red": (210, 30, 35), "white": (250, 250, 250), "navy": (20, 33, 61), "dark_red": (160, 20, 25)}
    return np.concatenate(
        [np.tile(np.array(values[name], dtype=np.uint8), (count, 1)) for name, count in colors.items()]
    )


def test_the_main_colours_are_named_with_their_shares_largest_first() -> None:
    palette = name_palette(find_clusters(pixels(red=600, navy=300, white=100)), ColorNamer())

    assert [(color.name, round(color.share, 2)) for color in palette] == [("red", 0.6), ("navy", 0.3), ("white", 0.1)]
    assert all(len(color.hex) == 7 and color.hex.startswith("#") for color in palette)


def test_the_lit_and_the_shaded_side_are_one_colour() -> None:
    assert ColorNamer().shares(find_clusters(pixels(red=500, dark_red=500))) == {"red": pytest.approx(1)}


def test_specks_are_left_out_of_the_palette() -> None:
    palette = name_palette(find_clusters(pixels(red=990, white=10)), ColorNamer())

    assert [color.name for color in palette] == ["red"]


def test_a_single_pixel_has_a_palette() -> None:
    (color,) = name_palette(find_clusters(pixels(navy=1)), ColorNamer())

    assert (color.name, color.share) == ("navy", 1.0)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("#000000", "black"),
        ("#ffffff", "white"),
        ("#7f7f7f", "gray"),
        ("#ff0000", "red"),
        ("#0000ff", "blue"),
        ("#ffff00", "yellow"),
        ("#ffa500", "orange"),
        ("#8b4513", "brown"),
        ("#ffc0cb", "pink"),
        ("#800080", "purple"),
        ("#000080", "navy"),
        ("#008080", "teal"),
        ("#808000", "olive"),
        ("#f5f5dc", "cream"),
        ("#d2b48c", "tan"),
        ("#800020", "burgundy"),
        ("#40e0d0", "turquoise"),
        ("#e6e6fa", "lavender"),
        ("#228b22", "green"),
        ("#ff7f50", "coral"),
    ],
)
def test_well_known_colours_have_their_names(value: str, name: str) -> None:
    rgb = np.array([[int(value[at : at + 2], 16) for at in (1, 3, 5)]], dtype=np.uint8)

    assert ColorNamer().name(to_lab(rgb)) == [name]


def test_every_anchor_has_its_own_name() -> None:
    namer = ColorNamer()

    for name, values in COLOR_ANCHORS.items():
        rgb = np.array([[int(value[at : at + 2], 16) for at in (1, 3, 5)] for value in values], dtype=np.uint8)
        assert namer.name(to_lab(rgb)) == [name] * len(values)


def test_a_shops_own_colours_are_named() -> None:
    namer = ColorNamer({"brand": ["#ff5a1f"], "other": ["#0000ff"]})

    assert namer.shares(find_clusters(pixels(red=10))) == {"brand": pytest.approx(1)}


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 80), st.just(3))))
def test_the_same_pixels_in_any_order_give_the_same_palette_and_shares_add_up(rgb: NDArray[np.uint8]) -> None:
    clusters, reversed_clusters = find_clusters(rgb), find_clusters(rgb[::-1])

    np.testing.assert_array_equal(clusters.lab, reversed_clusters.lab)
    assert clusters.shares.sum() == pytest.approx(1)
    assert list(clusters.shares) == sorted(clusters.shares, reverse=True)
