"""What a background offers to a product: how it is cropped, and where the surface is."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.compositor.pixels import shrink
from services.compositor.studio import Lab, to_lab

# Of a background's longer side, at which it is looked at.
_SIDE_PX = 192
# Where a product stands when no surface's edge is found: low, as in most product photos.
_DEFAULT_LINE = 0.8
# How far down the visible surface the product stands: 0 is the edge at the back, 1 the frame's lower border.
_DEPTH = 0.55
_HIGHEST_LINE, _LOWEST_LINE = 0.74, 0.9
# Between these shares of the height a surface ends.
_HIGHEST_EDGE, _LOWEST_EDGE = 0.3, 0.8
# In units of CIELAB: by how much surface and wall differ at least.
_LEAST_STEP = 5.0
# Rows that are compared above and below an edge, as a share of the height.
_BLOCK_SHARE = 0.06
_COLUMNS = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle of a background, in its pixels."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The part of a picture that it frames."""
        return rgb[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True, slots=True)
class Scene:
    """A background that is cropped for a preview.

    Attributes:
        frame: what is seen of it.
        line: where the product's lowest point stands, as a share of the frame's height from the top.
        surface_edge: where the surface ends at the back, likewise; None where it was not found.
        center: where the product's middle goes, as a share of the frame's width.
    """

    frame: Frame
    line: float
    surface_edge: float | None
    center: float


def read_scene(rgb: NDArray[np.uint8], aspect: float) -> Scene:
    """Crops a background to an aspect ratio around its free space, and finds where a product would stand.

    The surface's edge is the strongest horizontal step of colour that goes through the picture. The frame is moved to
    where the place for the product is calm.

    Args:
        rgb: sRGB of shape (height, width, 3).
        aspect: of the preview, width over height.
    """
    lab = to_lab(shrink(rgb, _SIDE_PX))
    edge = find_surface_edge(lab)
    frame = _frame(rgb, lab, aspect, edge)
    if edge is None:
        return Scene(frame, _DEFAULT_LINE, None, 0.5)
    in_frame = (edge * rgb.shape[0] - frame.top) / frame.height
    line = float(np.clip(in_frame + _DEPTH * (1 - in_frame), _HIGHEST_LINE, _LOWEST_LINE))
    return Scene(frame, line, in_frame, 0.5)


def find_surface_edge(lab: Lab) -> float | None:
    """Where a surface ends at the back, as a share of the height from the top; None where there is no such edge."""
    height, width = lab.shape[:2]
    block = max(1, round(_BLOCK_SHARE * height))
    if height < 8 * block // 2 or width < _COLUMNS:
        return None
    columns = cv2.resize(lab, (_COLUMNS, height), interpolation=cv2.INTER_AREA)
    sums = np.concatenate([np.zeros((1, _COLUMNS, 3), np.float32), columns.cumsum(axis=0)])
    rows = np.arange(max(block, int(_HIGHEST_EDGE * height)), min(height - block, int(_LOWEST_EDGE * height)) + 1)
    if not len(rows):
        return None
    above = (sums[rows] - sums[rows - block]) / block
    below = (sums[rows + block] - sums[rows]) / block
    # It goes through most columns, whatever stands in front of it in the others.
    steps = np.quantile(np.linalg.norm(below - above, axis=-1), 0.4, axis=1)
    best = int(steps.argmax())
    return float(rows[best] / height) if steps[best] >= _LEAST_STEP else None


def _frame(rgb: NDArray[np.uint8], lab: Lab, aspect: float, edge: float | None) -> Frame:
    height, width = rgb.shape[:2]
    if width / height > aspect:
        framed = max(1, min(width, round(height * aspect)))
        return Frame(round(_calmest_offset(lab, framed / width) * (width - framed)), 0, framed, height)
    framed = max(1, min(height, round(width / aspect)))
    return Frame(0, _top(height, framed, edge), width, framed)


def _calmest_offset(lab: Lab, share: float) -> float:
    """How far to the right a frame of a share of the width goes, 0 to 1, to have the calmest place in its middle."""
    detail = np.abs(cv2.Laplacian(cv2.GaussianBlur(lab[..., 0], (0, 0), 1), cv2.CV_32F))
    height, width = detail.shape
    busy = detail[height // 4 :].mean(axis=0)
    place = max(1, round(0.45 * share * width))
    centers = np.linspace(share / 2, 1 - share / 2, 11) * width
    starts = np.clip((centers - place / 2).astype(int), 0, width - place)
    sums = np.concatenate([[0], busy.cumsum()])
    costs = (sums[starts + place] - sums[starts]) / place
    # The middle is where the picture's maker put the free space, unless another place is much calmer.
    costs = costs / (costs.mean() + 1e-3) + 0.6 * np.abs(np.linspace(-1, 1, 11))
    return float(costs.argmin() / 10)


def _top(height: int, framed: int, edge: float | None) -> int:
    """Where a frame that is lower than the picture begins, so that the surface is in it."""
    line = _DEFAULT_LINE if edge is None else edge + _DEPTH * (1 - edge)
    return int(np.clip(round(line * height - _DEFAULT_LINE * framed), 0, height - framed))
