from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.ranker.placement import CELLS, COLUMNS, ROWS, free_space_vector, placement_query


def mask(product_aspect_ratio: float) -> NDArray[Any]:
    return placement_query(product_aspect_ratio).reshape(ROWS, COLUMNS) / np.sqrt(CELLS)


def test_a_product_as_wide_as_the_frame_stands_in_the_lower_middle() -> None:
    # At 4:3 it takes half of either side: columns 2 to 5; and rows from 0.4 to 0.9 of the height, 3.2 to 7.2 rows.
    area = mask(4 / 3)

    assert area[:3].sum() == 0
    assert area[:, [0, 1, 6, 7]].sum() == 0
    assert area[3, 2:6] == pytest.approx(0.8 / 16)
    assert area[4:7, 2:6] == pytest.approx(1 / 16)
    assert area[7, 2:6] == pytest.approx(0.2 / 16)


def test_a_bottle_takes_a_column_and_a_sofa_takes_a_strip() -> None:
    assert (np.count_nonzero(mask(0.2).any(axis=0)), np.count_nonzero(mask(0.2).any(axis=1))) == (2, 5)
    assert (np.count_nonzero(mask(3).any(axis=0)), np.count_nonzero(mask(3).any(axis=1))) == (4, 3)


def test_clutter_counts_where_the_product_goes_and_nowhere_else() -> None:
    busy_top, busy_middle = np.ones((ROWS, COLUMNS)), np.ones((ROWS, COLUMNS))
    busy_top[:3] = 0
    busy_middle[4:6, 3:5] = 0
    query = placement_query(1)

    assert query @ free_space_vector(busy_top.ravel()) == pytest.approx(1)
    assert query @ free_space_vector(busy_middle.ravel()) < 0.8


@given(st.floats(0.01, 100), st.lists(st.floats(0, 1), min_size=ROWS * COLUMNS, max_size=ROWS * COLUMNS))
def test_the_mean_calmness_is_between_0_and_1(product_aspect_ratio: float, values: list[float]) -> None:
    query = placement_query(product_aspect_ratio)

    assert query.sum() == pytest.approx(np.sqrt(CELLS), abs=1e-4)
    assert query.min() >= 0
    assert -1e-5 <= query @ free_space_vector(values) <= 1 + 1e-5
