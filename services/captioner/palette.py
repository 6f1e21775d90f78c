"""The main colours of a picture: clusters of its pixels in CIELAB, and their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.captioner.color_names import COLOR_ANCHORS

Lab = NDArray[np.float32]
"""CIELAB colours of shape (colours, 3): L* of 0 to 100, a* and b* of about -128 to 127."""

CLUSTERS = 6
_ITERATIONS = 10
# Centres that move less than this have settled: no eye sees it.
_SETTLED_DISTANCE = 0.5
# Clusters nearer than this are one colour to the eye, such as the lit and the shaded side of a product.
_SAME_COLOR_DISTANCE = 12.0
_SMALLEST_SHARE = 0.03
# Light and shade change L* most and say least about a colour's name.
_LIGHTNESS_WEIGHT = 0.7


@dataclass(frozen=True, slots=True)
class Clusters:
    """The main colours of a picture, largest first.

    Attributes:
        lab: of shape (clusters, 3).
        shares: of the pixels, summing to 1, of shape (clusters,).
    """

    lab: Lab
    shares: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PaletteColor:
    """A main colour: the name of the nearest known colour, sRGB as #rrggbb, and the share of the pixels, 0 to 1."""

    name: str
    hex: str
    share: float


def to_lab(rgb: NDArray[np.uint8]) -> Lab:
    """SRGB of shape (colours, 3) in CIELAB."""
    scaled = rgb.reshape(-1, 1, 3).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB), dtype=np.float32).reshape(-1, 3)


class ColorNamer:
    """Names colours by the nearest of some anchors in CIELAB.

    Args:
        anchors: for each name, the sRGB values (#rrggbb) that have it.
    """

    def __init__(self, anchors: Mapping[str, Sequence[str]] = COLOR_ANCHORS) -> None:
        pairs = [(name, value) for name, values in anchors.items() for value in values]
        self._names = [name for name, _ in pairs]
        self._anchors = _weigh(to_lab(np.array([_parse_hex(value) for _, value in pairs], dtype=np.uint8)))

    def name(self, lab: Lab) -> list[str]:
        """The name of each colour."""
        distances = np.linalg.norm(_weigh(lab)[:, None] - self._anchors[None], axis=2)
        return [self._names[index] for index in distances.argmin(axis=1)]

    def shares(self, clusters: Clusters) -> dict[str, float]:
        """The share of the pixels that falls to each name."""
        shares: dict[str, float] = {}
        for name, share in zip(self.name(clusters.lab), clusters.shares, strict=True):
            shares[name] = shares.get(name, 0.0) + float(share)
        return shares


def find_clusters(pixels: NDArray[np.uint8]) -> Clusters:
    """The main colours of sRGB pixels of shape (pixels, 3).

    K-means in CIELAB over a histogram of the pixels; the same pixels always give the same clusters.
    """
    lab, counts = _histogram(pixels)
    centers = _spread_centers(lab, counts)
    weighted = (lab * counts[:, None]).T
    for _ in range(_ITERATIONS):
        # The square of the colour itself is the same for every centre.
        nearest = ((centers**2).sum(axis=1) - 2 * (lab @ centers.T)).argmin(axis=1)
        totals = np.bincount(nearest, counts, len(centers))
        sums = np.stack([np.bincount(nearest, channel, len(centers)) for channel in weighted], axis=1)
        moved = np.where(totals[:, None] > 0, sums / np.maximum(totals, 1)[:, None], centers).astype(np.float32)
        settled = np.abs(moved - centers).max() < _SETTLED_DISTANCE
        centers = moved
        if settled:
            break
    return _merge(centers, totals / totals.sum())


def name_palette(clusters: Clusters, namer: ColorNamer) -> list[PaletteColor]:
    """Clusters with their names, without the smallest ones."""
    return [
        PaletteColor(name, _format_hex(color), round(float(share), 4))
        for name, color, share in zip(namer.name(clusters.lab), clusters.lab, clusters.shares, strict=True)
        if share >= _SMALLEST_SHARE
    ]


def _histogram(pixels: NDArray[np.uint8]) -> tuple[Lab, NDArray[np.float32]]:
    """The distinct colours at 5 bits a channel, each the middle of its bin, with their numbers of pixels."""
    red, green, blue = (pixels.T >> 3).astype(np.int32)
    counts = np.bincount(red << 10 | green << 5 | blue)
    codes = np.flatnonzero(counts > 0)
    channels = np.stack([codes >> 10, codes >> 5 & 31, codes & 31], axis=1)
    return to_lab((channels << 3 | channels >> 2).astype(np.uint8)), counts[codes].astype(np.float32)


def _spread_centers(lab: Lab, counts: NDArray[np.float32]) -> Lab:
    """First centres: the most frequent colour, then each time the one that is frequent and far from those."""
    squares = np.einsum("ij,ij->i", lab, lab)
    chosen = [int(counts.argmax())]
    distances = np.full(len(lab), np.inf, dtype=np.float32)
    while len(chosen) < min(CLUSTERS, len(lab)):
        last = chosen[-1]
        distances = np.minimum(distances, squares - 2 * (lab @ lab[last]) + squares[last])
        chosen.append(int((distances * counts).argmax()))
    return lab[chosen]


def _merge(centers: Lab, shares: NDArray[np.float64]) -> Clusters:
    """Joins clusters that the eye takes for one colour; the larger one's colour stays."""
    weighed = _weigh(centers)
    distances = np.linalg.norm(weighed[:, None] - weighed, axis=2)
    totals: dict[int, float] = {}
    for index in np.argsort(-shares, kind="stable"):
        if shares[index] == 0:
            continue
        nearest = min(totals, key=lambda kept: float(distances[index, kept]), default=None)
        if nearest is not None and distances[index, nearest] < _SAME_COLOR_DISTANCE:
            totals[nearest] += float(shares[index])
        else:
            totals[int(index)] = float(shares[index])
    order = sorted(totals, key=lambda kept: -totals[kept])
    return Clusters(centers[order], np.array([totals[kept] for kept in order]))


def _weigh(lab: Lab) -> Lab:
    return lab * np.array([_LIGHTNESS_WEIGHT, 1, 1], dtype=np.float32)


def _parse_hex(value: str) -> tuple[int, int, int]:
    return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)


def _format_hex(lab: Lab) -> str:
    rgb = cv2.cvtColor(lab.reshape(1, 1, 3), cv2.COLOR_LAB2RGB).reshape(3)
    red, green, blue = np.clip(np.round(rgb * 255), 0, 255).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"
