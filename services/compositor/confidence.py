"""How far a cut-out can be trusted, from what can be measured in it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.compositor.segmentation import Segmentation
from services.compositor.studio import Mask, rim, to_lab

ROUGH_BELOW = 0.6
"""A confidence below which a person should look."""

# Pixels from the outline, to either side, where product and background are compared.
_STEP_PX = 3
# In units of CIELAB: an edge weaker than this is hard to see.
_WEAK_CONTRAST = 9.0


@dataclass(frozen=True, slots=True)
class Quality:
    """How sure a cut-out is: 0 to 1, and what speaks against it most, as a sentence; empty where it is not rough."""

    confidence: float
    reason: str

    @property
    def rough(self) -> bool:
        """Whether a person should look."""
        return self.confidence < ROUGH_BELOW


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is measured.

    Attributes:
        noise: of the photo's background, in units of CIELAB.
        weak_edge: share of the outline where product and background hardly differ.
        at_border: share of the photo's border that the product covers.
        share: of the photo that the product covers.
        dropped: pixels that stood out and were judged not to be the product's, as a share of it.
        parts: connected parts of the product.
    """

    noise: float
    weak_edge: float
    at_border: float
    share: float
    dropped: float
    parts: int


def judge(segmentation: Segmentation, rgb: NDArray[np.uint8]) -> Quality:
    """Judges a cut-out of a photo of the size that was segmented."""
    evidence = measure(segmentation, rgb)
    factors = _factors(evidence)
    confidence = float(np.prod([factor for factor, _ in factors]))
    _, reason = min(factors, key=lambda each: each[0])
    return Quality(round(confidence, 3), reason if confidence < ROUGH_BELOW else "")


def measure(segmentation: Segmentation, rgb: NDArray[np.uint8]) -> Evidence:
    """Measures what speaks for and against a cut-out."""
    mask = segmentation.mask
    return Evidence(
        noise=segmentation.studio.noise,
        weak_edge=_weak_edge(mask, rgb),
        at_border=float(mask[rim(*mask.shape)].mean()),
        share=float(mask.mean()),
        dropped=segmentation.dropped,
        parts=cv2.connectedComponents(mask.astype(np.uint8))[0] - 1,
    )


def _factors(evidence: Evidence) -> list[tuple[float, str]]:
    return [
        (
            1 - _ramp(evidence.noise, 3, 14),
            "The photo's background is uneven, so the outline is a guess; use a plain background.",
        ),
        (
            1 - _ramp(evidence.weak_edge, 0.06, 0.5),
            "The product is much like its background in places; use a background of another colour.",
        ),
        (
            1 - _ramp(evidence.at_border, 0.04, 0.4),
            "The product reaches the photo's border and may be cut off; leave room around it.",
        ),
        (
            1 - _ramp(evidence.dropped, 0.04, 0.4),
            "It is unclear what belongs to the product, such as glass, fine parts or other things beside it.",
        ),
        (
            min(_ramp(evidence.share, 0.001, 0.01), 1 - _ramp(evidence.share, 0.75, 0.95)),
            "The product is very small in the photo, or fills nearly all of it; leave some room around it.",
        ),
        (
            1 - _ramp(evidence.parts, 4, 24),
            "The product fell into many pieces; use a plain background without shadows.",
        ),
    ]


def _ramp(value: float, start: float, end: float) -> float:
    """0 up to `start`, 1 from `end` on."""
    return float(np.clip((value - start) / (end - start), 0, 1))


def _weak_edge(mask: Mask, rgb: NDArray[np.uint8]) -> float:
    whole = mask.astype(np.uint8)
    kernel = np.ones((3, 3), dtype=np.uint8)
    edge = (whole != cv2.erode(whole, kernel, borderValue=1)) & ~rim(*mask.shape)
    if not edge.any():
        return 1.0
    lab = to_lab(rgb)
    side = 2 * _STEP_PX + 1
    inside, outside = _local_mean(lab, whole, side), _local_mean(lab, 1 - whole, side)
    return float((np.linalg.norm(inside - outside, axis=-1)[edge] < _WEAK_CONTRAST).mean())


def _local_mean(lab: NDArray[np.float32], where: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    weights = where.astype(np.float32)[..., None]
    total = cv2.blur(weights, (side, side))[..., None]
    return np.asarray(cv2.blur(lab * weights, (side, side)) / np.maximum(total, 1e-3))
