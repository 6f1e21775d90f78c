"""One way of reading for each kind of category."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.captioner.calibration import Logits, softmax
from services.captioner.calibration_file import CategoryCalibration
from services.captioner.color_names import COLOR_ANCHORS
from services.captioner.image_text_model import Embedding
from services.captioner.label_embeddings import LabelEmbeddings
from services.captioner.palette import Clusters, ColorNamer
from services.captioner.photometry import Photometry, measure_confidence
from services.captioner.taxonomy import PaletteCategory, PhotometricCategory, ZeroShotCategory


@dataclass(frozen=True, slots=True)
class Observation:
    """What the readers go by.

    Attributes:
        embedding: the photo in the model's space, a unit vector of shape (dimension,).
        clusters: the main colours of the product, or of the whole photo.
        photometry: measures of the same pixels.
    """

    embedding: NDArray[np.float32]
    clusters: Clusters
    photometry: Photometry


class CategoryReader(Protocol):
    """Reads one category of a taxonomy.

    Attributes:
        calibrated: whether a label's confidence is how often such a reading is right, measured on labelled photos.
        min_confidence: below this a label is not chosen.
        min_margin: nor if its lead over the next is less than this.
    """

    calibrated: bool
    min_confidence: float
    min_margin: float

    def confidences(self, observation: Observation) -> Mapping[str, float]:
        """How surely each label holds, 0 to 1."""
        ...


class ZeroShotReader:
    """By the image-text model: a softmax over the labels' cosines with the photo.

    With a calibration its temperature and its threshold hold; then a thin lead is no matter: the confidence shows it.
    """

    def __init__(
        self,
        category: ZeroShotCategory,
        embeddings: LabelEmbeddings,
        logit_scale: float,
        calibration: CategoryCalibration | None = None,
    ) -> None:
        self._names = category.label_names
        self._embeddings = embeddings
        self._logit_scale = logit_scale
        self._temperature = calibration.temperature if calibration else 1.0
        self.calibrated = calibration is not None
        self.min_confidence = calibration.min_confidence if calibration else category.min_confidence
        self.min_margin = 0.0 if calibration else category.min_margin

    def logits(self, embedding: Embedding) -> Logits:
        """How well each label fits an embedded photo, before any temperature."""
        return self._logit_scale * self._embeddings.cosines(embedding).astype(np.float64)

    def confidences(self, observation: Observation) -> Mapping[str, float]:
        """Each label's share of the softmax."""
        shares = softmax(self.logits(observation.embedding), self._temperature)
        return dict(zip(self._names, shares.tolist(), strict=True))


class PaletteReader:
    """From the pixels: the colours' names."""

    # A share of the pixels is no probability.
    calibrated = False

    def __init__(self, category: PaletteCategory) -> None:
        self.min_confidence = category.min_confidence
        self.min_margin = category.min_margin
        self._namer = ColorNamer({label.name: label.hex or COLOR_ANCHORS[label.name] for label in category.labels})

    def confidences(self, observation: Observation) -> Mapping[str, float]:
        """Each name's share of the pixels; colours that are not there are left out."""
        return self._namer.shares(observation.clusters)


class PhotometricReader:
    """From the pixels: measures against bounds."""

    # How far beyond its bound a measure is, is no probability.
    calibrated = False

    def __init__(self, category: PhotometricCategory) -> None:
        self.min_confidence = category.min_confidence
        self.min_margin = category.min_margin
        self._labels = category.labels

    def confidences(self, observation: Observation) -> Mapping[str, float]:
        """For each label by itself, how surely its measure is beyond its bound."""
        return {
            label.name: measure_confidence(
                getattr(observation.photometry, label.measure), above=label.above, below=label.below
            )
            for label in self._labels
        }
