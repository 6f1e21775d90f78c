"""Words that people wrote about backgrounds and that requests share, by BM25 (Robertson and Zaragoza 2009).

The encoder is the one of Qdrant's engine, so that texts are split, stemmed and hashed alike for the embedded store and
a server; the rarity of each word (IDF) is the engine's part.
"""

from dataclasses import dataclass
from functools import cache

import qdrant_edge as edge

HALF_SIMILARITY = 4.0
"""The BM25 score that counts as a similarity of one half: about one rare word in common."""

_USUAL_WORDS = 16
"""Of a title and keywords, without the most common ones."""


@dataclass(frozen=True, slots=True)
class SparseVector:
    """The hashes of words and what each counts."""

    indices: list[int]
    values: list[float]


def document_vector(text: str) -> SparseVector:
    """The words of a background, common ones left out, weighted by how often they occur."""
    return _sparse(_encoder().embed_document(text))


def query_vector(text: str) -> SparseVector | None:
    """The different words of a request; None where none is left to look for."""
    vector = _sparse(_encoder().embed_query(text))
    return vector if vector.indices else None


@cache
def _encoder() -> edge.Bm25:
    return edge.Bm25(edge.Bm25Config(avg_len=_USUAL_WORDS))


def _sparse(vector: edge.SparseVector) -> SparseVector:
    return SparseVector(list(vector.indices), list(vector.values))
