"""How alike a background and the texts of a request are.

The score is the weighted mean, over the texts, of each text's cosine with the background's best caption: the MaxSim of
late interaction (Khattab and Zaharia, ColBERT, 2020), with whole sentences in the place of tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.ranker.background import Background

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WeightedText:
    """A text to look for; `weight` is above 0 and counts against the sum of all weights."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class EmbeddedBackground:
    """A background with the unit vectors of its captions, (captions, dimension)."""

    background: Background
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class ScorePart:
    """What one text contributed: its best caption, their cosine, and the text's share in the score (0 to 1)."""

    caption: str
    similarity: float
    weight: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A background with its score, -1 to 1, and the score's parts, one for each text in their order.

    `matched_text` and `matched_caption` are the pair that contributed most.
    """

    background: Background
    score: float
    matched_text: str
    matched_caption: str
    parts: tuple[ScorePart, ...]


def weight_shares(texts: Sequence[WeightedText]) -> Vectors:
    """Each text's weight over the sum of all weights, (texts,)."""
    weights = np.array([each.weight for each in texts], dtype=np.float64)
    shares: Vectors = (weights / weights.sum()).astype(np.float32)
    return shares


def rank(texts: Sequence[WeightedText], text_vectors: Vectors, candidates: Sequence[EmbeddedBackground]) -> list[Hit]:
    """Scores the candidates, the best first; equal scores stand in the order of their names.

    Args:
        texts: what to look for.
        text_vectors: their unit vectors, (texts, dimension).
        candidates: what to score.
    """
    weights = weight_shares(texts)
    hits = [_score(texts, weights, text_vectors, each) for each in candidates]
    return sorted(hits, key=lambda hit: (-hit.score, str(hit.background.name)))


def _score(
    texts: Sequence[WeightedText], weights: Vectors, text_vectors: Vectors, candidate: EmbeddedBackground
) -> Hit:
    similarities = np.clip(text_vectors @ candidate.vectors.T, -1, 1)
    best_captions = similarities.argmax(axis=1)
    best_similarities = similarities.max(axis=1)
    contributions = weights * best_similarities
    captions = candidate.background.captions
    parts = tuple(
        ScorePart(captions[caption], float(similarity), float(weight))
        for caption, similarity, weight in zip(best_captions, best_similarities, weights, strict=True)
    )
    strongest = int(contributions.argmax())
    return Hit(
        background=candidate.background,
        score=float(contributions.sum()),
        matched_text=texts[strongest].text,
        matched_caption=parts[strongest].caption,
        parts=parts,
    )
