"""Libraries of made-up backgrounds, with vectors as real ones have: clusters of motifs, palettes, free space."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.ranker.background import Background, BackgroundName, PaletteColor
from services.ranker.signals import Signal, Vectors
from services.ranker.vector_store import IndexedBackground, VectorSpace

SPACE = VectorSpace("synthetic", 384, "synthetic", 384)
LIBRARIES = 10
CLUSTERS = 200
SPREAD = 0.8
"""Length of what makes a background differ from its cluster's centre, whose length is 1."""
NOISE = 0.3
"""Length of what makes a product differ from one that is like it."""
CHUNK = 1000
WORDS = [f"word{number}" for number in range(3000)]
WEIGHTS = {Signal.TEXT: 0.6, Signal.IMAGE: 0.28, Signal.COLOR: 0.02, Signal.SPACE: 0.02}
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@dataclass(frozen=True)
class Synthetic:
    """`count` backgrounds, number n in library n mod 10, with their vectors, (count, dimension)."""

    vectors: Vectors
    queries: Vectors
    words: list[str]

    def chunks(self) -> Iterator[list[IndexedBackground]]:
        """All backgrounds in their order, `CHUNK` at a time."""
        for start in range(0, len(self.vectors), CHUNK):
            yield [self._indexed(number) for number in range(start, min(start + CHUNK, len(self.vectors)))]

    def nearest(self, query: int, limit: int) -> set[int]:
        """The numbers of the best backgrounds of the query's library, by exact comparison."""
        library = np.arange(query % LIBRARIES, len(self.vectors), LIBRARIES)
        scores = self.vectors[library] @ self.queries[query]
        return set(library[np.argsort(-scores)[:limit]].tolist())

    def _indexed(self, number: int) -> IndexedBackground:
        background = Background(
            name=BackgroundName(f"library-{number % LIBRARIES}", f"background-{number}"),
            captions=("A walnut table in front of a bright kitchen on a sunny morning.",),
            attributes={"surface": (WORDS[number % 20],), "mood": (WORDS[20 + number % 7],)},
            metadata={"sha256": "0" * 64, "title": "A walnut table", "content_type": "image/jpeg"},
            update_time=NOW,
            palette=(PaletteColor("#112233", 0.5), PaletteColor("#ddeeff", 0.5)),
            width=800 + number % 800,
            height=900,
            words=self.words[number % len(self.words)],
        )
        return IndexedBackground(background, self.vectors[number])


def make(count: int, queries: int, *, clustered: bool = True, seed: int = 0) -> Synthetic:
    """Made-up backgrounds and queries.

    Args:
        count: backgrounds in all libraries.
        queries: how many; their vectors are weighted as requests are.
        clustered: around motifs, as real libraries are; else spread evenly over all directions.
        seed: of what is made up.
    """
    generator = np.random.default_rng(seed)
    centres = [unit(generator.normal(size=(CLUSTERS, 384))) for _ in range(2)]
    vectors = _vectors(generator, count, centres, clustered=clustered)
    wanted = _vectors(generator, queries, centres, clustered=clustered) * _weights()
    words = [" ".join(generator.choice(WORDS, 8)) for _ in range(2000)]
    return Synthetic(vectors, wanted, words)


def _vectors(generator: np.random.Generator, count: int, centres: list[Vectors], *, clustered: bool) -> Vectors:
    vectors = np.zeros((count, SPACE.layout.dimension), dtype=np.float32)
    blocks = SPACE.layout.blocks
    for start in range(0, count, CHUNK):
        rows = slice(start, min(start + CHUNK, count))
        size = rows.stop - rows.start
        motif = generator.integers(CLUSTERS, size=size)
        for signal, centre in zip((Signal.TEXT, Signal.IMAGE), centres, strict=True):
            noise = unit(generator.normal(size=(size, 384)))
            vectors[rows, blocks[signal]] = unit(centre[motif] + SPREAD * noise) if clustered else noise
        colors = generator.random((size, 125)) ** 8
        vectors[rows, blocks[Signal.COLOR]] = colors / colors.sum(axis=1, keepdims=True)
        vectors[rows, blocks[Signal.SPACE]] = generator.random((size, 64)) / 8
    return vectors


def _weights() -> Vectors:
    weights = np.zeros(SPACE.layout.dimension, dtype=np.float32)
    for signal, weight in WEIGHTS.items():
        weights[SPACE.layout.blocks[signal]] = weight
    return weights


def unit(vectors: NDArray[np.floating[Any]]) -> Vectors:
    """The vectors, (..., dimension), each of length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)
