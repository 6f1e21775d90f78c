"""A sentence-embedding model and backgrounds for tests, without the cost of real ones."""

import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from services.ranker.background import Background, BackgroundName
from services.ranker.signals import Signal, Vectors, background_parts
from services.ranker.vector_store import IndexedBackground, VectorSpace

IMAGE_MODEL = "eye"
IMAGE_DIMENSION = 4
ONLY_TEXT = {Signal.TEXT: 1.0}
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def space_of(dimension: int = 256) -> VectorSpace:
    """The space of a `WordCounter` and a small image-text model."""
    return VectorSpace("word-counter", dimension, IMAGE_MODEL, IMAGE_DIMENSION)


def indexed(item: Background, captions: Vectors, space: VectorSpace) -> IndexedBackground:
    """A background with its vector."""
    vector = space.layout.vector(background_parts(item, captions))
    return IndexedBackground(item, vector)


class WordCounter:
    """Texts are alike as far as they share words. Remembers what it was asked to encode."""

    def __init__(self, dimension: int = 256) -> None:
        self.model = "word-counter"
        self.runtime = "numpy"
        self.dimension = dimension
        self.batches: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(list(texts))
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.split():
                row[zlib.crc32(word.encode()) % self.dimension] += 1
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def background(
    name: str,
    *captions: str,
    attributes: Mapping[str, tuple[str, ...]] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **looks: Any,
) -> Background:
    """A background named by `{library}/{id}`; `looks` are further fields."""
    library, identifier = name.split("/")
    return Background(
        BackgroundName(library, identifier),
        captions or ("a wooden table",),
        attributes or {},
        metadata or {},
        datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        **looks,
    )
