"""Reads photos: decoding, foreground, model and palette come together here. No gRPC, no threads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from cachetools import LRUCache
from numpy.typing import NDArray
from prometheus_client import Histogram

from chassis.errors import InvalidArgument
from services.captioner.category_readers import CategoryReader, Observation, open_reader
from services.captioner.choice import ChosenLabel, choose_labels
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.errors import ModelMismatch
from services.captioner.foreground import Box, find_foreground, shrink
from services.captioner.image_decoding import Limits, Photo, decode
from services.captioner.image_text_model import Embeddings, ImageTextModel
from services.captioner.palette import ColorNamer, PaletteColor, find_clusters, name_palette, to_lab
from services.captioner.photometry import measure
from services.captioner.taxonomy import Category, Taxonomy, find_taxonomy
from services.captioner.views import cut_views

REMEMBERED_TEXTS = 4096
"""Embeddings of texts that were scored, kept in memory: some megabytes."""

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
decode_seconds = Histogram("backdrop_captioner_decode_seconds", "Decoding a photo.", buckets=_BUCKETS)
model_seconds = Histogram("backdrop_captioner_model_seconds", "The model on a photo or on texts.", buckets=_BUCKETS)
total_seconds = Histogram("backdrop_captioner_total_seconds", "Reading a photo, decoding included.", buckets=_BUCKETS)


@dataclass(frozen=True, slots=True)
class Feature:
    """What was read for one category; no labels mean that none led clearly."""

    category: Category
    labels: tuple[ChosenLabel, ...]


@dataclass(frozen=True, slots=True)
class PhotoFeatures:
    """All that was read in a photo.

    Attributes:
        features: one for each category, in the taxonomy's order.
        embedding: of the photo, a unit vector of shape (dimension,).
        foreground: where the product is, as shares of width and height; None when nothing stood out.
        palette: the product's main colours, or else the photo's.
        width: of the upright photo in pixels.
        height: of the upright photo in pixels.
        content_type: of the encoded photo, such as `image/jpeg`.
    """

    features: tuple[Feature, ...]
    embedding: NDArray[np.float32]
    foreground: Box | None
    palette: tuple[PaletteColor, ...]
    width: int
    height: int
    content_type: str


class PhotoReader:
    """Reads photos with one model against some taxonomies. Its methods block; several threads may call them.

    Args:
        model: that reads photos and texts.
        taxonomies: by name.
        cache: for the embeddings of the taxonomies' labels.
        limits: on photos.
    """

    def __init__(
        self, model: ImageTextModel, taxonomies: Mapping[str, Taxonomy], cache: EmbeddingCache, limits: Limits
    ) -> None:
        self.model = model
        self.taxonomies = taxonomies
        self._limits = limits
        self._color_namer = ColorNamer()
        self._text_embeddings: LRUCache[str, NDArray[np.float32]] = LRUCache(REMEMBERED_TEXTS)
        self._text_lock = Lock()
        self._readers: dict[str, list[tuple[Category, CategoryReader]]] = {
            name: [(category, open_reader(category, model, cache)) for category in taxonomy.categories]
            for name, taxonomy in taxonomies.items()
        }

    def read(self, image: bytes, taxonomy_name: str) -> PhotoFeatures:
        """Reads an encoded photo against a taxonomy.

        Raises:
            InvalidArgument: the photo is damaged or over a limit.
            TaxonomyNotFound: there is no such taxonomy.
        """
        taxonomy = find_taxonomy(self.taxonomies, taxonomy_name)
        with total_seconds.time():
            photo = self._decode(image)
            foreground = find_foreground(photo.image, photo.alpha) if taxonomy.foreground else None
            embedding = self._embed(photo, foreground.box if foreground else None)
            pixels = foreground.pixels if foreground else shrink(photo.image).reshape(-1, 3)
            clusters = find_clusters(pixels)
            observation = Observation(embedding, clusters, measure(to_lab(pixels)))
            return PhotoFeatures(
                features=tuple(
                    _read_category(category, reader, observation) for category, reader in self._readers[taxonomy_name]
                ),
                embedding=embedding,
                foreground=foreground.box if foreground else None,
                palette=tuple(name_palette(clusters, self._color_namer)),
                width=photo.width,
                height=photo.height,
                content_type=photo.content_type,
            )

    def embed(self, image: bytes) -> NDArray[np.float32]:
        """The embedding of an encoded photo, read from its foreground too when one stands out.

        Raises:
            InvalidArgument: the photo is damaged or over a limit.
        """
        photo = self._decode(image)
        foreground = find_foreground(photo.image, photo.alpha)
        return self._embed(photo, foreground.box if foreground else None)

    def check_embedding(self, values: Sequence[float], model_name: str) -> NDArray[np.float32]:
        """An embedding that a client sent, at unit length.

        Raises:
            ModelMismatch: another model made it.
            InvalidArgument: its dimension is not the model's, or it has no direction.
        """
        if model_name != self.model.name:
            raise ModelMismatch(
                f"The embedding was made by {model_name!r}, but {self.model.name!r} is loaded: extract the photo's "
                "features again.",
                metadata={"embedding_model": model_name, "loaded_model": self.model.name},
            )
        embedding = np.array(values, dtype=np.float32)
        if len(embedding) != self.model.dimension:
            raise InvalidArgument.of(
                "embedding.values", f"it has {len(embedding)} values; {self.model.name} has {self.model.dimension}"
            )
        length = float(np.linalg.norm(embedding))
        if not np.isfinite(length) or length == 0:
            raise InvalidArgument.of("embedding.values", "its length is zero or not finite; send it as it was received")
        return embedding / np.float32(length)

    def score(self, embedding: NDArray[np.float32], texts: Sequence[str]) -> list[float]:
        """The cosine of an embedded photo and each text, -1 to 1."""
        cosines = self._embed_texts(texts) @ embedding
        return [float(each) for each in np.clip(cosines, -1, 1)]

    def _embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Unit rows of shape (texts, dimension); those of texts that were scored before are remembered."""
        with self._text_lock:
            known = {text: self._text_embeddings[text] for text in texts if text in self._text_embeddings}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            with model_seconds.time():
                known.update(zip(missing, self.model.encode_text(missing), strict=True))
            with self._text_lock:
                self._text_embeddings.update({text: known[text] for text in missing})
        return np.stack([known[text] for text in texts])

    def _decode(self, image: bytes) -> Photo:
        with decode_seconds.time():
            return decode(image, self._limits)

    def _embed(self, photo: Photo, box: Box | None) -> NDArray[np.float32]:
        """The mean of the views' embeddings, at unit length."""
        views = torch.stack([self.model.preprocess(view) for view in cut_views(photo.image, box)])
        with model_seconds.time():
            mean = self.model.encode_image(views).mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)


def _read_category(category: Category, reader: CategoryReader, observation: Observation) -> Feature:
    labels = choose_labels(
        reader.confidences(observation), category.max_labels, category.min_confidence, category.min_margin
    )
    return Feature(category, labels)
