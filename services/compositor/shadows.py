"""The shadow of a product on the surface that it stands on."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.compositor.cut_out import Box
from services.compositor.light import Light
from services.compositor.matting import Alpha
from services.compositor.placement import Size

Shadow = NDArray[np.float32]
"""What is left of the light, linear, of shape (height, width, 3), 0 to 1."""

# Shadows are soft, so they are computed at a fraction of the frame's size.
_SIDE_PX = 384
# How far a shadow reaches to the back, and at most to the side, in heights of the product.
_TO_THE_BACK, _TO_THE_SIDE = 0.22, 0.75
# Heights of the product over the ground, in its own, at which it no longer touches it.
_TOUCHING = 0.05
_MARKETPLACE_STRENGTH = 0.16


@dataclass(frozen=True, slots=True)
class Strength:
    """How much light shadows take, 0 to 1: where the product touches the ground, and where it keeps light from it."""

    contact: float
    cast: float


def strength_in(light: Light) -> Strength:
    """How strong shadows are: the brighter and harder the light, the more; in the dark they hardly show."""
    seen = float(np.clip(light.brightness / 0.6, 0.35, 1))
    return Strength(contact=0.62 * seen + 0.1, cast=(0.34 + 0.2 * light.contrast) * seen)


def cast(alpha: Alpha, box: Box, frame: Size, light: Light, surface_edge: float | None) -> Shadow:
    """The shadow of a product in a scene: a dark seam where it touches the ground, and a soft one to the far side.

    Args:
        alpha: of the product at its size in the frame.
        box: where it stands.
        frame: size of the preview.
        light: of the background.
        surface_edge: where the surface ends, as a share of the frame's height; no shadow falls beyond it.
    """
    silhouette, base = _small_silhouette(alpha, box, frame)
    strength = strength_in(light)
    fallen = strength.cast * _fallen(silhouette, base, box, frame, light.from_side)
    if surface_edge is not None:
        fallen *= _below(surface_edge, fallen.shape)
    darkness = 1 - (1 - strength.contact * _contact(silhouette, base)) * (1 - fallen)
    return _tinted(darkness, frame, light)


def cast_contact_only(alpha: Alpha, box: Box, frame: Size) -> Shadow:
    """A faint shadow where a product touches the ground, and no other."""
    silhouette, base = _small_silhouette(alpha, box, frame)
    left = 1 - _MARKETPLACE_STRENGTH * _contact(silhouette, base)
    return _to_frame(np.repeat(left[..., None], 3, axis=-1), frame)


def _small_silhouette(alpha: Alpha, box: Box, frame: Size) -> tuple[NDArray[np.float32], int]:
    """The product's opacity in a small frame, 0 to 1, and the row that it stands on there."""
    factor = min(1.0, _SIDE_PX / max(frame.width, frame.height))
    whole = np.zeros((frame.height, frame.width), dtype=np.uint8)
    whole[box.top : box.top + box.height, box.left : box.left + box.width] = alpha
    size = max(1, round(frame.width * factor)), max(1, round(frame.height * factor))
    small = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), dtype=np.float32) / np.float32(255)
    base = min(size[1] - 1, round((box.top + box.height) * factor))
    return small, base


def _contact(silhouette: NDArray[np.float32], base: int) -> NDArray[np.float32]:
    """Darkness under what touches the ground: the product's lower outline, blurred, wider than high."""
    height = silhouette.shape[0]
    solid = silhouette > 0.5
    extent = max(2, int(solid.any(axis=1).sum()), int(solid.any(axis=0).sum()) // 2)
    rows = np.arange(height, dtype=np.float32)[:, None]
    lowest = np.where(solid, rows, -1).max(axis=0)
    # What ends far over the ground, such as a handle, does not touch it; the back of a base, seen from
    # above, does.
    touching = np.exp(-(((base - lowest) / (0.26 * extent)) ** 2)) * (lowest >= 0)
    near_outline = np.exp(-np.abs(lowest[None] - rows) / max(1.0, _TOUCHING * extent)) * (rows <= lowest[None])
    seam = (near_outline * touching[None]).astype(np.float32)
    moved = np.roll(seam, max(1, round(0.012 * extent)), axis=0)
    tight = cv2.GaussianBlur(moved, (0, 0), max(0.8, 0.022 * extent), sigmaY=max(0.6, 0.011 * extent))
    wide = cv2.GaussianBlur(moved, (0, 0), max(1.0, 0.075 * extent), sigmaY=max(0.8, 0.032 * extent))
    return np.asarray(np.clip(0.75 * tight + 0.75 * wide, 0, 1), dtype=np.float32)


def _fallen(silhouette: NDArray[np.float32], base: int, box: Box, frame: Size, from_side: float) -> NDArray[np.float32]:
    """The silhouette laid on the ground, away from the light; blurred the more, the higher over the ground it was."""
    height, width = silhouette.shape
    shear = -from_side * _TO_THE_SIDE
    # From where a point of the ground is shaded: (x, y) of the silhouette for each of the shadow.
    back = np.array(
        [[1, shear / _TO_THE_BACK, -shear / _TO_THE_BACK * base], [0, 1 / _TO_THE_BACK, base - base / _TO_THE_BACK]]
    )
    laid = cv2.warpAffine(silhouette, back, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    product_height = max(1.0, box.height * height / frame.height)
    over_ground = np.clip((base - np.arange(height, dtype=np.float32)) / (_TO_THE_BACK * product_height), 0, 1)[:, None]
    near = cv2.GaussianBlur(laid, (0, 0), max(0.8, 0.02 * product_height))
    far = cv2.GaussianBlur(laid, (0, 0), max(1.5, 0.07 * product_height))
    fallen = (near * (1 - over_ground) + far * over_ground) * (1 - 0.55 * over_ground)
    return np.asarray(fallen, dtype=np.float32)


def _below(surface_edge: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
    rows = (np.arange(shape[0], dtype=np.float32) + 0.5) / shape[0]
    return np.asarray(np.clip((rows - surface_edge) / 0.03, 0, 1)[:, None], dtype=np.float32)


def _tinted(darkness: NDArray[np.float32], frame: Size, light: Light) -> Shadow:
    """Light that is left: what comes from all around has the scene's colour, and fills shadows."""
    fill = 0.25 * (np.array(light.tint, dtype=np.float32) - 1)
    taken = darkness[..., None] * np.clip(1 - fill, 0.8, 1.2)
    return _to_frame(np.clip(1 - taken, 0, 1).astype(np.float32), frame)


def _to_frame(small: NDArray[np.float32], frame: Size) -> Shadow:
    return np.asarray(cv2.resize(small, (frame.width, frame.height), interpolation=cv2.INTER_LINEAR))
