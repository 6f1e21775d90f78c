import numpy as np
import pytest

from services.captioner.palette import Lab, to_lab
from services.captioner.photometry import measure, measure_confidence


def lab_of(*colors: tuple[int, int, int]) -> Lab:
    return to_lab(np.array(colors, dtype=np.uint8))


def test_white_is_light_and_black_is_dark() -> None:
    assert measure(lab_of((255, 255, 255))).lightness == pytest.approx(100, abs=0.1)
    assert measure(lab_of((0, 0, 0))).lightness == pytest.approx(0, abs=0.1)


def test_contrast_is_between_light_and_dark() -> None:
    assert measure(lab_of((255, 255, 255), (0, 0, 0))).contrast == pytest.approx(50, abs=0.1)
    assert measure(lab_of((90, 90, 90), (90, 90, 90))).contrast == 0


def test_candle_light_is_warm_and_moonlight_is_cool() -> None:
    assert measure(lab_of((255, 190, 110))).warmth > 40
    assert measure(lab_of((120, 150, 210))).warmth < -25


def test_grey_has_no_chroma() -> None:
    assert measure(lab_of((128, 128, 128))).chroma < 1
    assert measure(lab_of((255, 0, 0))).chroma > 90


def test_confidence_is_even_at_the_bound_and_grows_beyond_it() -> None:
    assert measure_confidence(68, above=68, below=None) == 0.5
    assert measure_confidence(80, above=68, below=None) > 0.99
    assert measure_confidence(80, above=None, below=68) < 0.01
    assert measure_confidence(60, above=None, below=68) > 0.95
