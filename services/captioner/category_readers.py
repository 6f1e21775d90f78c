"""One way of reading for each kind of category."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.captioner.color_names import COLOR_ANCHORS
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.image_text_model import ImageTextModel
from services.captioner.label_embeddings import embed_labels
from services.captioner.palette import Clusters, ColorNamer
from services.captioner.photometry import Photometry, measure_confidence
from services.captioner.taxonomy import Category, PaletteCategory, PhotometricCategory, ZeroShotCategory


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
    """Reads one category of a taxonomy."""

    def confidences(self, observation: Observation) -> Mapping[str, float]:
        """How surely each label holds, 0 to 1."""
        ...


class ZeroShotReader:
    """By the image-text model: a softmax over the labels' cosines with the photo."""

    def __init__(self, category: ZeroShotCategory, model: ImageTextModel, cache: EmbeddingCache) -> None:
        self._names = category.label_names
        self._logit_scale = model.logit_scale
        self._embeddings = embed_labels(category, model, cache)

    def confidences(self, observation: Observation) -> Mapping[str, float]:
        """Each label's share of the softmax."""
        logits = self._logit_scale * self._embeddings.cosines(observation.embedding)
        weights = np.exp(logits - logits.max())
        return dict(zip(self._names, (weights / weights.sum()).tolist(), strict=True))


class PaletteReader:
    """From the pixels: the colours' names."""

    def __init__(self, category: PaletteCategory) -> None:
        self._namer = ColorNamer({label.name: label.hex or COLOR_ANCHORS[label.name] for label in category.labels})

    def confidences(self, observation: Observation) -> Mapping[str, float]:
        """Each name's share of the pixels; colours that are not there are left out."""
        return self._namer.shares(observation.clusters)


class PhotometricReader:
    """From the pixels: measures against bounds."""

    def __init__(self, category: PhotometricCategory) -> None:
        self._labels = category.labels

    def confidences(self, observation: Observation) -> Mapping[str, float]:
        """For each label by itself, how surely its measure is beyond its bound."""
        return {
            label.name: measure_confidence(
                getattr(observation.photometry, label.measure), above=label.above, below=label.below
            )
            for label in self._labels
        }


def open_reader(category: Category, model: ImageTextModel, cache: EmbeddingCache) -> CategoryReader:
    """The reader for `category`, with what it needs computed ahead."""
    match category:
        case ZeroShotCategory():
            return ZeroShotReader(category, model, cache)
        case PaletteCategory():
            return PaletteReader(category)
        case PhotometricCategory():
            return PhotometricReader(category)
