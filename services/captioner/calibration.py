"""Confidences that are right as often as they say: a temperature for each zero-shot category of each model.

A softmax over cosines is no probability: it is too sure or not sure enough, by a factor that depends on the model and
on how many labels there are and how alike. Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks",
ICML 2017) divides the logits by one fitted number. It never changes which label leads, only how sure that looks.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.captioner.taxonomy import ZeroShotCategory

Logits = NDArray[np.float64]
"""Of shape (photos, labels)."""

ECE_BINS = 10
FOLDS = 5
# A temperature fitted on fewer photos would be chance.
FEWEST_PHOTOS = 20
# The fitted range: from ten times surer than the model to far less sure.
_TEMPERATURES = np.geomspace(0.1, 20, 400)
# A share of right readings over fewer photos than these says nothing.
_FEWEST_SURE = 10
_SMALLEST_PROBABILITY = 1e-6


@dataclass(frozen=True, slots=True)
class Bin:
    """Photos whose best label was about equally sure.

    Attributes:
        confidence: their mean confidence.
        accuracy: the share of them whose best label was right.
        count: how many there are.
    """

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True)
class Fit:
    """What a category's labelled photos gave.

    Attributes:
        temperature: fitted on all photos.
        min_confidence: below this a reading is unsure; 1 when no threshold reaches the wanted precision.
        before: best confidences of the photos without a temperature.
        after: the same, cross-validated: each photo with a temperature fitted on others.
        right: for each photo, whether its best label is right.
    """

    temperature: float
    min_confidence: float
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    right: NDArray[np.bool_]


def softmax(logits: NDArray[np.floating], temperature: float = 1) -> NDArray[np.float64]:
    """Confidences that add up to 1 along the last axis."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def fit(logits: Logits, right: NDArray[np.bool_], precision: float) -> Fit:
    """Fits a temperature, and the confidence from which readings are right as often as `precision` demands.

    Args:
        logits: of each photo for each label.
        right: for each photo, whether the label that leads is right.
        precision: the share of sure readings that has to be right.
    """
    after = np.empty(len(logits))
    for fold in _folds(len(logits)):
        after[fold] = softmax(logits[fold], fit_temperature(logits[~fold], right[~fold])).max(axis=1)
    return Fit(
        temperature=fit_temperature(logits, right),
        min_confidence=choose_threshold(after, right, precision),
        before=softmax(logits).max(axis=1),
        after=after,
        right=right,
    )


def fit_temperature(logits: Logits, right: NDArray[np.bool_]) -> float:
    """The temperature with the least negative log-likelihood of the best labels being right or wrong.

    Only the best label's confidence is held against the truth, as only that is reported, and as several labels may be
    right for one photo.
    """
    losses = [negative_log_likelihood(softmax(logits, each).max(axis=1), right) for each in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def negative_log_likelihood(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Mean over the photos, in nats."""
    probabilities = np.where(right, confidences, 1 - confidences)
    return float(-np.log(np.clip(probabilities, _SMALLEST_PROBABILITY, 1)).mean())


def choose_threshold(confidences: NDArray[np.float64], right: NDArray[np.bool_], precision: float) -> float:
    """The smallest confidence from which the share of right readings is at least `precision`; 1 if there is none."""
    order = np.argsort(-confidences, kind="stable")
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero((shares >= precision) & (np.arange(len(order)) >= _FEWEST_SURE - 1))
    return float(confidences[order[enough[-1]]]) if len(enough) else 1.0


def reliability_bins(confidences: NDArray[np.float64], right: NDArray[np.bool_], bins: int = ECE_BINS) -> list[Bin]:
    """The photos in bins of equal width by confidence; empty bins are left out."""
    index = np.minimum((confidences * bins).astype(int), bins - 1)
    return [
        Bin(float(confidences[inside].mean()), float(right[inside].mean()), int(inside.sum()))
        for inside in (index == each for each in range(bins))
        if inside.any()
    ]


def expected_calibration_error(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """The mean distance of confidence and accuracy over the bins, weighted by their photos (Naeini et al. 2015)."""
    bins = reliability_bins(confidences, right)
    return sum(each.count * abs(each.confidence - each.accuracy) for each in bins) / len(confidences)


def are_right(logits: Logits, names: Sequence[str], accepted: Iterable[frozenset[str]]) -> NDArray[np.bool_]:
    """For each photo, whether the label that leads is among those that are right for it."""
    leaders = logits.argmax(axis=1)
    return np.array([names[leader] in each for leader, each in zip(leaders, accepted, strict=True)], dtype=np.bool_)


def digest_labels(category: ZeroShotCategory) -> str:
    """Changes with all that the confidences of a category depend on, but for the model."""
    content = [*category.prompts, *(name for label in category.labels for name in ("", label.name, *label.also))]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:16]


def _folds(photos: int) -> list[NDArray[np.bool_]]:
    """Masks of the photos, each photo in one, the same in each run."""
    place = np.random.default_rng(0).permutation(photos) % FOLDS
    return [place == fold for fold in range(FOLDS) if (place == fold).any()]
