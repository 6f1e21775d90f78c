"""How large a product is in a preview, and where it stands."""

from dataclasses import dataclass
from enum import Enum

from services.compositor.cut_out import Box


class Preset(Enum):
    """The shape of a preview: its width over its height."""

    SQUARE = 1.0
    PORTRAIT = 0.8
    LANDSCAPE = 16 / 9
    MARKETPLACE = -1.0

    @property
    def aspect(self) -> float:
        """Width over height."""
        return abs(self.value)


# The side of a square as large as the product's box, as a share of that of the frame.
_SIZE = 0.46
_TALLEST, _WIDEST = 0.62, 0.66
# Free space over the product, as a share of the frame's height, and beside it, of its width.
_ROOM = 0.06
_MARKETPLACE_SHARE = 0.85


@dataclass(frozen=True, slots=True)
class Size:
    """In pixels."""

    width: int
    height: int


def frame_size(preset: Preset, longer_px: int) -> Size:
    """The size of a preview with that longer side."""
    aspect = preset.aspect
    if aspect >= 1:
        return Size(longer_px, round(longer_px / aspect))
    return Size(round(longer_px * aspect), longer_px)


def place(product: Size, frame: Size, line: float, center: float) -> Box:
    """Where a product stands in a scene: never cut by the frame, its lowest row on the line.

    Args:
        product: of the cut-out.
        frame: of the preview.
        line: the height of the standing line, as a share of the frame's height from the top.
        center: of the product, as a share of the frame's width.
    """
    area_side = (product.width * product.height) ** 0.5
    scale = _SIZE * (frame.width * frame.height) ** 0.5 / area_side
    bottom = round(line * frame.height)
    tallest = min(_TALLEST * frame.height, bottom - _ROOM * frame.height)
    scale = min(scale, tallest / product.height, _WIDEST * frame.width / product.width)
    size = _scaled(product, scale)
    room = round(_ROOM * frame.width)
    left = min(max(round(center * frame.width - size.width / 2), room), frame.width - room - size.width)
    return Box(left, bottom - size.height, size.width, size.height)


def place_in_middle(product: Size, frame: Size) -> Box:
    """Where a product goes in the main image of a marketplace: in the middle, its longer side at 85 % of the frame."""
    scale = _MARKETPLACE_SHARE * min(frame.width / product.width, frame.height / product.height)
    size = _scaled(product, scale)
    return Box((frame.width - size.width) // 2, (frame.height - size.height) // 2, size.width, size.height)


def _scaled(product: Size, scale: float) -> Size:
    return Size(max(1, round(product.width * scale)), max(1, round(product.height * scale)))
