import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.background import PaletteColor
from services.ranker.color_harmony import COLORS, color_harmony, harmony_query, palette_vector

HEX = st.integers(0, 0xFFFFFF).map(lambda value: f"#{value:06x}")
PALETTES = st.lists(st.builds(PaletteColor, HEX, st.floats(0.03, 1)), min_size=1, max_size=6)


def one(color: str) -> list[PaletteColor]:
    return [PaletteColor(color, 1)]


def suitability(product: list[PaletteColor], background: list[PaletteColor]) -> float:
    return float(harmony_query(product) @ palette_vector(background))


def test_two_greys_have_the_harmony_of_the_published_formula() -> None:
    light, dark = np.array([80.0, 0, 0]), np.array([20.0, 0, 0])
    chromatic = 0.04 + 0.53 * np.tanh(0.8)
    lightness = 0.28 + 0.54 * np.tanh(-3.88 + 2.9) + 0.14 + 0.15 * np.tanh(10)
    # At hue 0, which a grey has here.
    hue = (0.5 + 0.5 * np.tanh(-2)) * (-0.08 - 0.14 * np.sin(np.radians(50)) - 0.07)

    assert color_harmony(light, dark) == pytest.approx(chromatic + lightness + 2 * hue, abs=1e-9)


def test_two_vivid_colours_have_the_harmony_of_the_published_formula() -> None:
    orange, green = np.array([60.0, 40, 30]), np.array([30.0, -20, 40])

    # Term by term: H_C -0.4682, H_Lsum -0.1811, H_dL 0.2899, H_SY -0.2394 and -0.1111.
    assert color_harmony(orange, green) == pytest.approx(-0.7098, abs=2e-4)


def test_a_palette_is_a_histogram_that_knows_grid_colours_exactly() -> None:
    vector = palette_vector([PaletteColor("#ffffff", 0.6), PaletteColor("#000000", 0.2)])

    assert vector.shape == (COLORS,)
    assert (vector[-1], vector[0]) == (pytest.approx(0.75), pytest.approx(0.25))


def test_a_product_stands_out_better_on_another_colour_than_on_its_own() -> None:
    assert suitability(one("#ffffff"), one("#ffffff")) == 0
    assert suitability(one("#ffffff"), one("#14213d")) > 0.7
    assert suitability(one("#7a5a3a"), one("#f5f5dc")) > 1.5 * suitability(one("#7a5a3a"), one("#7a5a3a"))


def test_of_two_contrasts_the_more_harmonious_one_suits_better() -> None:
    assert suitability(one("#14213d"), one("#8ecae6")) > suitability(one("#14213d"), one("#ff0000"))


def test_colours_that_look_alike_suit_alike() -> None:
    product = one("#2a9d8f")

    assert suitability(product, one("#c08040")) == pytest.approx(suitability(product, one("#c28242")), abs=0.01)


@given(PALETTES, PALETTES)
def test_suitability_is_symmetric_and_between_0_and_1(first: list[PaletteColor], second: list[PaletteColor]) -> None:
    there = suitability(first, second)

    assert 0 <= there <= 1
    assert there == pytest.approx(suitability(second, first), abs=1e-5)


@given(PALETTES)
def test_shares_need_not_sum_to_1(palette: list[PaletteColor]) -> None:
    halved = [PaletteColor(each.hex, each.share / 2) for each in palette]

    assert palette_vector(palette).sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(palette_vector(halved), palette_vector(palette), atol=1e-6)
