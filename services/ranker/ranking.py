"""What a request asks for, and what each signal contributes to a background's score.

The score is the weighted mean of the similarities by each signal. The weights are those of the signals that the request
can be judged by, scaled to a sum of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.ranker import color_harmony, placement
from services.ranker.background import Background, ImageTextEmbedding, PaletteColor
from services.ranker.feedback import Lesson
from services.ranker.signals import Layout, Signal, Vectors, unit
from services.ranker.vector_store import Found


@dataclass(frozen=True, slots=True)
class WeightedText:
    """A text to look for; `weight` is above 0 and counts against the sum of all weights."""

    text: str
    weight: float
    embedding: ImageTextEmbedding | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """What counts of a product's looks: its colours, its width over its height (0 if not known), its photo."""

    palette: tuple[PaletteColor, ...] = ()
    aspect_ratio: float = 0.0
    photo: ImageTextEmbedding | None = None


@dataclass(frozen=True, slots=True)
class UnusedSignal:
    """A signal that has a weight but could not be used, and why, in a sentence."""

    signal: Signal
    reason: str


@dataclass(frozen=True, slots=True)
class Query:
    """A request as the signals see it.

    Attributes:
        texts: what to look for.
        text_vectors: their unit vectors, (texts, dimension).
        directions: by signal, what a background's part is multiplied with; all signals in use but the keywords.
        weights: of the signals in use; their sum is one.
        unused: signals that have a weight but nothing to compare.
        lesson: what feedback teaches; None when it takes no part.
    """

    texts: Sequence[WeightedText]
    text_vectors: Vectors
    directions: Mapping[Signal, Vectors]
    weights: Mapping[Signal, float]
    unused: tuple[UnusedSignal, ...]
    lesson: Lesson | None = None

    def vector(self, layout: Layout) -> Vectors:
        """The query vector: each direction times its weight, (dimension,)."""
        weighted = {
            signal: direction * np.float32(self.weights[signal]) for signal, direction in self.directions.items()
        }
        return layout.vector(weighted)

    @property
    def words(self) -> str:
        """The text whose words count; empty when keywords do not."""
        return " ".join(each.text for each in self.texts) if Signal.KEYWORDS in self.weights else ""

    @property
    def nudges(self) -> dict[str, float]:
        """What feedback adds to the scores of single backgrounds, by id."""
        weight = self.weights.get(Signal.FEEDBACK, 0.0)
        return {each: nudge * weight for each, nudge in self.lesson.nudges.items()} if self.lesson and weight else {}


@dataclass(frozen=True, slots=True)
class ScorePart:
    """What one text contributed: its similarity with the captions, and the text's share (0 to 1)."""

    caption: str
    similarity: float
    weight: float


@dataclass(frozen=True, slots=True)
class SignalPart:
    """What one signal contributed: similarity times weight; the weights of all parts make one."""

    signal: Signal
    similarity: float
    weight: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A background with its score, the score's parts by signal, the strongest first, and the text's parts by text.

    Attributes:
        duplicates: backgrounds that look the same and rank below it.
    """

    background: Background
    score: float
    matched_text: str
    matched_caption: str
    parts: tuple[ScorePart, ...]
    signals: tuple[SignalPart, ...]
    duplicates: tuple[str, ...] = ()


def plan(
    texts: Sequence[WeightedText],
    text_vectors: Vectors,
    product: Product,
    weights: Mapping[Signal, float],
    image_model: str,
    lesson: Lesson | None = None,
) -> Query:
    """What the request can be judged by.

    Args:
        texts: what to look for.
        text_vectors: their unit vectors, (texts, dimension).
        product: its looks.
        weights: of all signals, 0 or more; 0 leaves a signal out.
        image_model: whose embeddings the library has.
        lesson: what feedback on similar products teaches; None when there is none.
    """
    directions, unused = _directions(texts, text_vectors, product, image_model)
    if lesson:
        directions[Signal.FEEDBACK] = lesson.direction
    usable = {*directions, Signal.KEYWORDS}
    used = {signal: weight for signal, weight in weights.items() if weight > 0 and signal in usable}
    total = sum(used.values())
    return Query(
        texts=texts,
        text_vectors=text_vectors,
        directions={signal: direction for signal, direction in directions.items() if signal in used},
        weights={signal: weight / total for signal, weight in used.items()},
        unused=tuple(each for each in unused if weights.get(each.signal, 0) > 0),
        lesson=lesson,
    )


def _directions(
    texts: Sequence[WeightedText], text_vectors: Vectors, product: Product, image_model: str
) -> tuple[dict[Signal, Vectors], list[UnusedSignal]]:
    """What backgrounds are multiplied with by each signal, and which signals the request says nothing about."""
    shares = text_shares(texts)
    directions: dict[Signal, Vectors] = {
        Signal.TEXT: shares @ text_vectors,
        Signal.SPACE: placement.placement_query(product.aspect_ratio or 1.0),
    }
    unused = []
    embeddings = [each.embedding for each in texts if each.embedding and each.embedding.model == image_model]
    if len(embeddings) == len(texts):
        directions[Signal.IMAGE] = shares @ np.stack([unit(each.values) for each in embeddings])
    else:
        unused.append(UnusedSignal(Signal.IMAGE, f"The texts came without embeddings of {image_model}."))
    if product.photo and product.photo.model == image_model:
        directions[Signal.PHOTO] = unit(product.photo.values)
    else:
        unused.append(UnusedSignal(Signal.PHOTO, f"The product came without an embedding of {image_model}."))
    if product.palette:
        directions[Signal.COLOR] = color_harmony.harmony_query(product.palette)
    else:
        unused.append(UnusedSignal(Signal.COLOR, "The product's colours are not known."))
    return directions, unused


def text_shares(texts: Sequence[WeightedText]) -> Vectors:
    """Each text's weight over the sum of all weights, (texts,)."""
    weights = np.array([each.weight for each in texts], dtype=np.float64)
    shares: Vectors = (weights / weights.sum()).astype(np.float32)
    return shares


def explain(query: Query, layout: Layout, found: Sequence[Found]) -> list[Hit]:
    """What was found, in its order, with what each signal contributed."""
    if not found:
        return []
    vectors = np.stack([each.vector for each in found])
    similarities = layout.similarities(query.directions, vectors)
    by_text = query.text_vectors @ vectors[:, layout.blocks[Signal.TEXT]].T
    return [
        _hit(query, each, by_text[:, row], {signal: float(values[row]) for signal, values in similarities.items()})
        for row, each in enumerate(found)
    ]


def _hit(query: Query, found: Found, by_text: Vectors, similarities: dict[Signal, float]) -> Hit:
    if query.lesson and Signal.FEEDBACK in similarities:
        similarities[Signal.FEEDBACK] += query.lesson.nudges.get(found.background.name.background, 0.0)
    if weight := query.weights.get(Signal.KEYWORDS):
        # The engine knows how rare words are; what it added to the other signals is the keywords' part.
        others = sum(query.weights[signal] * similarity for signal, similarity in similarities.items())
        similarities[Signal.KEYWORDS] = min(max((found.score - others) / weight, 0.0), 1.0)
    signals = [SignalPart(signal, value, query.weights[signal]) for signal, value in similarities.items()]
    captions = " ".join(found.background.captions)
    shares = text_shares(query.texts)
    return Hit(
        background=found.background,
        score=sum(each.similarity * each.weight for each in signals),
        matched_text=query.texts[int((shares * by_text).argmax())].text,
        matched_caption=captions,
        parts=tuple(
            ScorePart(captions, float(similarity), float(share))
            for similarity, share in zip(by_text, shares, strict=True)
        ),
        signals=tuple(sorted(signals, key=lambda part: -part.similarity * part.weight)),
    )
