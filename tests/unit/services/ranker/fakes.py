"""A sentence-embedding model and backgrounds for tests, without the cost of real ones."""

import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from services.ranker.background import Background, BackgroundName
from services.ranker.ranking import Vectors
from services.ranker.vector_store import VectorSpace


class WordCounter:
    """Texts are alike as far as they share words. Remembers what it was asked to encode."""

    def __init__(self, dimension: int = 256) -> None:
        self.space = VectorSpace("word-counter", dimension)
        self.batches: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(list(texts))
        vectors = np.zeros((len(texts), self.space.dimension), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.split():
                row[zlib.crc32(word.encode()) % self.space.dimension] += 1
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def background(
    name: str,
    *captions: str,
    attributes: Mapping[str, tuple[str, ...]] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Background:
    """A background named by `{library}/{id}`."""
    library, identifier = name.split("/")
    return Background(
        BackgroundName(library, identifier),
        captions or ("a wooden table",),
        attributes or {},
        metadata or {},
        datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    )
