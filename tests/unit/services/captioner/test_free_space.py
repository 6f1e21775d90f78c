from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.captioner.free_space import COLUMNS, ROWS, measure_free_space


def half_busy(side_px: int = 96) -> NDArray[Any]:
    """Plain grey on the left; a checkerboard of black and white on the right."""
    picture = np.full((side_px, side_px, 3), 128, dtype=np.uint8)
    rows, columns = np.indices((side_px, side_px))
    picture[(columns >= side_px // 2) & ((rows + columns) % 2 == 0)] = 255
    picture[(columns >= side_px // 2) & ((rows + columns) % 2 == 1)] = 0
    return picture


def test_plain_ground_is_free_and_a_pattern_is_not() -> None:
    free_space = measure_free_space(half_busy())

    assert free_space.shape == (ROWS, COLUMNS)
    assert free_space[:, :3] == pytest.approx(1)
    assert free_space[:, 5:].max() < 0.01


def test_light_that_fades_over_a_wall_is_no_detail() -> None:
    fading = np.tile(np.linspace(80, 200, 96).astype(np.uint8)[None, :, None], (72, 1, 3))

    assert measure_free_space(fading).min() > 0.75


def test_a_fine_pattern_leaves_more_room_than_a_bold_one() -> None:
    dots = np.random.default_rng(0).integers(0, 2, (72, 96, 1))
    faint, bold = ((128 + contrast * dots).astype(np.uint8).repeat(3, axis=2) for contrast in (20, 120))

    assert measure_free_space(bold).max() < measure_free_space(faint).min()


@given(st.integers(1, 96), st.integers(1, 96), st.integers(0, 2**32 - 1))
def test_any_picture_has_a_grid_of_shares(height: int, width: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    free_space = measure_free_space(picture)

    assert free_space.shape == (ROWS, COLUMNS)
    assert ((free_space >= 0) & (free_space <= 1)).all()
