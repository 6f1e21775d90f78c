"""What shoppers chose and rejected, and what it says about similar products.

Each recommendation that feedback was given on is kept with two things: the product, as a point to find similar ones by,
and what the choice teaches, as a direction: from the mean of what was shown to what was chosen, and away from what was
rejected (Rocchio 1971, "Relevance Feedback in Information Retrieval"). A request adds up what similar products teach,
and the sum is one more signal: a direction to multiply backgrounds by, which reaches those that were never shown, and a
nudge for each that was. Both are smoothed, as if some feedback had come already that said nothing.

Whoever chooses the third has seen the first two, so those that were passed over count as half rejected (Joachims 2002,
"Optimizing Search Engines using Clickthrough Data"); of those below the choice nobody knows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

import numpy as np

from chassis.errors import InvalidArgument
from services.ranker import recommendation_id
from services.ranker.background import LibraryNotFound
from services.ranker.recommendation_id import Shown
from services.ranker.signals import Layout, Signal, Vectors

PASSED_OVER = -0.5
"""How much it counts that a background was shown before one that was chosen, where a rejection counts -1."""
SIMILAR = 0.2
"""The cosine of two product photos' embeddings from which they teach each other something."""
SMOOTHING = 2.0
"""Recommendations, for the very same product, that are taken to have said nothing."""
MOST = 32
"""Recommendations that one request learns from: those of the most similar products."""


@dataclass(frozen=True, slots=True)
class FeedbackName:
    """The feedback on one recommendation from a library."""

    library: str
    digest: str

    @classmethod
    def of(cls, library: str, recommendation: str) -> "FeedbackName":
        """The name under which feedback on a recommendation is kept, whenever it comes."""
        return cls(library, hashlib.sha256(recommendation.encode()).hexdigest())

    def __str__(self) -> str:
        return f"libraries/{self.library}/feedback/{self.digest}"


@dataclass(frozen=True)
class Feedback:
    """What was said of one recommendation.

    Attributes:
        library: that was asked.
        recommendation_id: says what was shown, and for which product.
        chosen: ids of backgrounds within the library, as `rejected`.
        update_time: when it was recorded, with a time zone.
    """

    library: str
    recommendation_id: str
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    update_time: datetime

    @property
    def name(self) -> FeedbackName:
        """Of the library and the recommendation."""
        return FeedbackName.of(self.library, self.recommendation_id)

    @cached_property
    def shown(self) -> Shown:
        """What was shown; raises `InvalidArgument` for an id that the ranker did not give."""
        return recommendation_id.decode(self.recommendation_id)

    @property
    def verdicts(self) -> dict[str, float]:
        """What was said of each background, by id: 1 for a chosen one to -1 for a rejected one; others are left out."""
        shown = self.shown.backgrounds
        last = max((shown.index(each) for each in self.chosen), default=0)
        passed_over = dict.fromkeys(shown[:last], PASSED_OVER)
        return passed_over | dict.fromkeys(self.rejected, -1.0) | dict.fromkeys(self.chosen, 1.0)

    def require_shown(self) -> None:
        """Raises `InvalidArgument` unless each background was shown, and is either chosen or rejected."""
        for field, given in (("chosen", self.chosen), ("rejected", self.rejected)):
            for number, background in enumerate(given):
                if background not in self.shown.backgrounds:
                    raise InvalidArgument.of(
                        f"{field}[{number}]", f"{background} was not shown in this recommendation; name one that was"
                    )
        for number, background in enumerate(self.rejected):
            if background in self.chosen:
                raise InvalidArgument.of(f"rejected[{number}]", f"{background} is chosen as well; name it once")


@dataclass(frozen=True, slots=True)
class IndexedFeedback:
    """Feedback as it is stored.

    Attributes:
        feedback: what was said.
        vector: the product in the place of a picture, (dimension,), and nothing else.
        direction: what it teaches, as a part of vectors, (length of `Layout.taught`,).
    """

    feedback: Feedback
    vector: Vectors
    direction: Vectors

    @property
    def name(self) -> FeedbackName:
        """Of the library and the recommendation."""
        return self.feedback.name

    @property
    def update_time(self) -> datetime:
        """When it was recorded."""
        return self.feedback.update_time


@dataclass(frozen=True, slots=True)
class SimilarFeedback:
    """Feedback on a product that is like another one, what it teaches, and the cosine of the products' photos."""

    feedback: Feedback
    direction: Vectors
    similarity: float


@dataclass(frozen=True, slots=True)
class FeedbackPage:
    """Some feedback of a library, and the point to go on from; None after the last."""

    feedback: tuple[Feedback, ...]
    next_point: UUID | None


@dataclass(frozen=True, slots=True)
class Lesson:
    """What similar products teach.

    Attributes:
        direction: to multiply backgrounds by, as a part of vectors, (length of `Layout.taught`,).
        nudges: what is added for single backgrounds, by id.
    """

    direction: Vectors
    nudges: Mapping[str, float]


def learn(similar: Sequence[SimilarFeedback]) -> Lesson | None:
    """What feedback on similar products teaches, -1 to 1 for each background; None when none is similar enough."""
    shares = [max(0.0, (each.similarity - SIMILAR) / (1 - SIMILAR)) for each in similar]
    if not any(shares):
        return None
    direction = sum(share * each.direction for share, each in zip(shares, similar, strict=True))
    said: dict[str, float] = {}
    heard: dict[str, float] = {}
    for share, each in zip(shares, similar, strict=True):
        for background, verdict in each.feedback.verdicts.items():
            said[background] = said.get(background, 0.0) + share * verdict
            heard[background] = heard.get(background, 0.0) + share * abs(verdict)
    # Half by likeness, half by name. A direction is of two embeddings, of captions and of the picture.
    return Lesson(
        direction=np.asarray(direction / np.float32(4 * (sum(shares) + SMOOTHING)), dtype=np.float32),
        nudges={each: said[each] / (2 * (heard[each] + SMOOTHING)) for each in said if said[each]},
    )


def indexed(feedback: Feedback, vectors: Mapping[str, Vectors], layout: Layout) -> IndexedFeedback:
    """Feedback with what it teaches.

    Args:
        feedback: what was said.
        vectors: those of the shown backgrounds that the library has, by id, (dimension,) each.
        layout: of the vectors.

    Raises:
        LibraryNotFound: there are none.
    """
    if not vectors:
        raise LibraryNotFound(feedback.library)
    product = layout.vector({Signal.PHOTO: feedback.shown.product})
    return IndexedFeedback(feedback, product, _direction(feedback.verdicts, vectors, layout))


def _direction(verdicts: Mapping[str, float], vectors: Mapping[str, Vectors], layout: Layout) -> Vectors:
    """From the mean of what was shown to what was chosen, and away from what was rejected."""
    parts = {background: vector[layout.taught] for background, vector in vectors.items()}
    mean = np.mean(list(parts.values()), axis=0)
    known = {background: verdict for background, verdict in verdicts.items() if background in parts}
    total = sum(map(abs, known.values())) or 1.0
    pulls = [verdict * (parts[background] - mean) for background, verdict in known.items()]
    return np.asarray(np.sum([np.zeros_like(mean), *pulls], axis=0) / total, dtype=np.float32)
