"""How well a product's colours go with a background's, as a dot product, so that a vector store can compute it.

A palette becomes a histogram over fixed colours. How two of those suit each other stands in a matrix, so the mean over
all pairs of a product's and a background's colours is `harmony_query(product) @ palette_vector(background)`.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.ranker.background import PaletteColor

Vector = NDArray[np.float32]
Lab = NDArray[np.float64]
"""CIELAB colours, of shape (..., 3)."""

# Regular in sRGB, where all points are colours that a picture can have, as those of a grid in CIELAB are not.
_LEVELS = 5
_GRID = np.array(list(itertools.product(np.linspace(0, 1, _LEVELS), repeat=3)))
COLORS = len(_GRID)
"""The dimension of palette vectors."""

# What the model's authors report.
_LEAST_HARMONY, _MOST_HARMONY = -1.24, 1.39
# A product that differs by this distance in CIELAB stands out; more makes it no plainer.
_ENOUGH_CONTRAST = 40.0

_SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE_XYZ = _SRGB_TO_XYZ.sum(axis=1)


def palette_vector(palette: Sequence[PaletteColor]) -> Vector:
    """A palette as a histogram over the fixed colours, of shape (COLORS,), which sums to 1.

    A colour is shared out over the corners of its cell of the grid by how near they are (trilinear interpolation), so
    that colours that look alike get vectors that are alike.

    Args:
        palette: one colour at least.
    """
    colors = np.array([list(bytes.fromhex(each.hex.removeprefix("#"))) for each in palette]) / 255
    shares = np.array([each.share for each in palette])
    nearness = (1 - (_LEVELS - 1) * np.abs(colors[:, None] - _GRID)).clip(min=0).prod(axis=2)
    histogram: Vector = (shares / shares.sum() @ nearness).astype(np.float32)
    return histogram


def harmony_query(palette: Sequence[PaletteColor]) -> Vector:
    """What to multiply backgrounds' palette vectors by, of shape (COLORS,): the product is 0 (unfit) to 1 (fits well).

    Args:
        palette: the product's; one colour at least.
    """
    return palette_vector(palette) @ _SUITABILITY


def color_harmony(lab_1: Lab, lab_2: Lab) -> NDArray[np.float64]:
    """How harmonious pairs of colours look: -1.24 (not at all) to 1.39 (very).

    The model of Ou and Luo, "A colour harmony model for two-colour combinations", Color Research and Application
    31(3), 2006, with the names of the paper.
    """
    lightness_1, lightness_2 = lab_1[..., 0], lab_2[..., 0]
    chroma_1, chroma_2 = _chroma(lab_1), _chroma(lab_2)
    chroma_difference = chroma_1 - chroma_2
    hue_difference_squared = np.square(lab_1[..., 1:] - lab_2[..., 1:]).sum(axis=-1) - chroma_difference**2
    delta_c = np.sqrt(hue_difference_squared.clip(min=0) + (chroma_difference / 1.46) ** 2)
    h_c = 0.04 + 0.53 * np.tanh(0.8 - 0.045 * delta_c)
    h_lsum = 0.28 + 0.54 * np.tanh(-3.88 + 0.029 * (lightness_1 + lightness_2))
    h_delta_l = 0.14 + 0.15 * np.tanh(-2 + 0.2 * np.abs(lightness_1 - lightness_2))
    h_h = _hue_effect(lab_1) + _hue_effect(lab_2)
    return np.asarray(h_c + h_lsum + h_delta_l + h_h)


def _hue_effect(lab: Lab) -> NDArray[np.float64]:
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
    e_c = 0.5 + 0.5 * np.tanh(-2 + 0.5 * _chroma(lab))
    h_s = -0.08 - 0.14 * np.sin(np.radians(hue + 50)) - 0.07 * np.sin(np.radians(2 * hue + 90))
    from_yellow = (90 - hue) / 10
    e_y = (0.22 * lab[..., 0] - 12.8) / 10 * np.exp(from_yellow - np.exp(from_yellow))
    return np.asarray(e_c * (h_s + e_y))


def _chroma(lab: Lab) -> NDArray[np.float64]:
    return np.hypot(lab[..., 1], lab[..., 2])


def _suitability() -> Vector:
    """For each pair of the fixed colours, 0 to 1: its contrast, of which disharmony takes up to a half.

    Harmony alone favours tone in tone, in which a product drowns: so the contrast comes first.
    """
    lab = _to_lab(_GRID)
    first, second = lab[:, None], lab[None]
    contrast = (np.linalg.norm(first - second, axis=2) / _ENOUGH_CONTRAST).clip(max=1)
    harmony = (color_harmony(first, second) - _LEAST_HARMONY) / (_MOST_HARMONY - _LEAST_HARMONY)
    matrix: Vector = (contrast * (1 + harmony.clip(0, 1)) / 2).astype(np.float32)
    return matrix


def _to_lab(rgb: NDArray[np.float64]) -> Lab:
    """SRGB of 0 to 1 in CIELAB, D65 (IEC 61966-2-1, CIE 15)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _SRGB_TO_XYZ.T / _WHITE_XYZ
    x, y, z = np.moveaxis(np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


_SUITABILITY = _suitability()
