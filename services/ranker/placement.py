"""How calm a background is where the product goes, as a dot product, so that a vector store can compute it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

COLUMNS = ROWS = 8
"""Of the grid of free space."""
CELLS = ROWS * COLUMNS
"""The dimension of free-space vectors."""

# As a stylist sets a product on a table or a floor: at most half of the picture's width and of its height, centred from
# left to right, with a little ground before it.
_LARGEST_SHARE = 0.5
_BOTTOM = 0.9
# By its square root a calm picture's vector gets the length of an embedding, so that pictures are compared with each
# other by all signals alike.
_SCALE = float(np.sqrt(CELLS))
# Libraries are of landscape pictures mostly; a portrait one is judged as if it were one.
_BACKGROUND_ASPECT = 4 / 3


def free_space_vector(values: Sequence[float]) -> Vector:
    """A background's free space, of shape (CELLS,).

    Args:
        values: row by row from the top left, 0 (full of detail) to 1 (calm).
    """
    vector: Vector = np.array(values, dtype=np.float32) / np.float32(_SCALE)
    return vector


def placement_query(product_aspect_ratio: float) -> Vector:
    """What to multiply free-space vectors by, of shape (CELLS,): the product is the mean calmness, 0 to 1.

    The mean is over the place of the product; a cell at its border counts as far as it is inside.

    Args:
        product_aspect_ratio: of the product itself, without what surrounds it: width by height.
    """
    width, height = _LARGEST_SHARE, _LARGEST_SHARE
    ratio = product_aspect_ratio / _BACKGROUND_ASPECT
    if ratio < 1:
        width *= ratio
    else:
        height /= ratio
    columns = _covered(0.5 - width / 2, 0.5 + width / 2, COLUMNS)
    rows = _covered(_BOTTOM - height, _BOTTOM, ROWS)
    mask: Vector = np.outer(rows, columns).ravel().astype(np.float32)
    mask *= np.float32(_SCALE) / mask.sum()
    return mask


def difference(one: Vector, other: Vector) -> float:
    """How far two free-space vectors differ, as a mean over the grid, 0 to 1."""
    return float(np.abs(one - other).mean()) * _SCALE


def _covered(start: float, end: float, cells: int) -> NDArray[np.float64]:
    """How much of each of the cells from 0 to 1 an interval covers."""
    edges = np.linspace(0, 1, cells + 1)
    return (np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)).clip(min=0)
