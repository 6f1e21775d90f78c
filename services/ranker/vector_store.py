"""What the ranker needs of a vector store, and how stores fail.

One background is one point: a dense vector that holds all signals (`signals`), a sparse one with the words of its
captions (`keywords`), and a payload to filter by (`payload`). The engine orders by the dense vector; where keywords or
nudges count, it adds them in the same query, over the best of all. Feedback lies beside them, in points of tenants of
its own, and so do the rules of libraries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

import numpy as np

from chassis.errors import BackdropError, FailedPrecondition, ResourceExhausted, Unavailable
from services.ranker.background import Background, BackgroundName, Condition, LibraryNotFound
from services.ranker.feedback import FeedbackName, FeedbackPage, IndexedFeedback, SimilarFeedback
from services.ranker.rules import IndexedRules, RulesName
from services.ranker.signals import Layout, Vectors

RESCORED = 160
"""How many are compared by their stored vectors: nearly free, and 2 bits alone find seven of the best ten."""

POOL_SIZE = 200
"""Backgrounds that each part of a query nominates where several are fused."""


@dataclass(frozen=True, slots=True)
class IndexedBackground:
    """A background with its vector, (dimension,)."""

    background: Background
    vector: Vectors

    @property
    def name(self) -> BackgroundName:
        """The background's."""
        return self.background.name

    @property
    def update_time(self) -> datetime:
        """When it was stored."""
        return self.background.update_time


Name = BackgroundName | FeedbackName | RulesName
Indexed = IndexedBackground | IndexedFeedback | IndexedRules
"""What a point is of."""


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for.

    Attributes:
        library: the only library that is read.
        vector: (dimension,); a background's score is its dot product with it.
        now: backgrounds that have expired by then are left out.
        conditions: what a background must fulfil, all of it.
        limit: the most backgrounds to return.
        words: a text whose words count as well; empty for none.
        words_weight: what the similarity of the words, 0 to 1, is multiplied by.
        nudges: what is added to the scores of single backgrounds, by id.
        diversity: 0 for the best first; up to 1 for maximal marginal relevance.
    """

    library: str
    vector: Vectors
    now: datetime
    conditions: Sequence[Condition] = ()
    limit: int = 10
    words: str = ""
    words_weight: float = 0.0
    nudges: Mapping[str, float] = field(default_factory=dict)
    diversity: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """A background with its vector, (dimension,), and its score."""

    background: Background
    vector: Vectors
    score: float


@dataclass(frozen=True, slots=True)
class IndexedPage:
    """Some points with their vectors, and the point to go on from; None after the last."""

    indexed: tuple[Indexed, ...]
    next_point: UUID | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some backgrounds of a library, and the point to go on from; None after the last."""

    backgrounds: tuple[Background, ...]
    next_point: UUID | None


class VectorStore(Protocol):
    """Backgrounds, with feedback and rules, by library. Every method may raise the errors of this module."""

    async def upsert(self, items: Sequence[Indexed]) -> list[bool]:
        """Stores items of different names, each replacing the one of its name.

        On return they survive the death of this process and of the machine.

        Returns:
            For each, whether it is new.
        """
        ...

    async def get(self, name: BackgroundName) -> Background | None:
        """The background of that name, if there is one."""
        ...

    async def delete(self, names: Sequence[Name]) -> list[bool]:
        """Forgets what has those names; says for each whether there was such a thing."""
        ...

    async def page(self, library: str, limit: int, first_point: UUID | None = None) -> Page:
        """At most `limit` backgrounds of the library from `first_point` on, in the order of their points."""
        ...

    async def read(self, names: Sequence[Name]) -> list[Indexed]:
        """What there is of those names, in any order."""
        ...

    async def export_page(self, library: str | None, limit: int, first_point: UUID | None = None) -> IndexedPage:
        """As `page`, with vectors; where no library is named, of all, with their feedback and their rules."""
        ...

    async def similar_feedback(self, library: str, product: Vectors, limit: int) -> list[SimilarFeedback]:
        """A library's feedback on the products that are most like one, which is as `IndexedFeedback.vector`."""
        ...

    async def feedback_page(self, library: str, limit: int, first_point: UUID | None = None) -> FeedbackPage:
        """As `page`, of a library's feedback."""
        ...

    async def rules(self, library: str) -> tuple[Condition, ...]:
        """The library's rules; none where none were set."""
        ...

    async def count(self, library: str) -> int:
        """How many backgrounds the library holds."""
        ...

    async def attribute_keys(self, library: str) -> frozenset[str]:
        """The keys of all attributes that backgrounds of the library have."""
        ...

    async def search(self, search: Search) -> list[Found]:
        """The backgrounds of a library with the highest scores, the best first; diverse ones in their order."""
        ...

    async def check(self) -> None:
        """Raises when the store cannot be used now."""
        ...


def oversampling(limit: int) -> float:
    """How many times `limit` are compared by their stored vectors after all were by their codes."""
    return max(2.0, RESCORED / limit)


def mmr_vector(query: Vectors, best_score: float, best: Vectors) -> Vectors:
    """The query vector for maximal marginal relevance (Carbonell and Goldstein 1998).

    That weighs how like the query a background is against how like each other backgrounds are, so both must be of one
    scale: the best background gets as much by the query as by its likeness with itself.

    Args:
        query: the query vector, (dimension,).
        best_score: the dot product of it and the best background.
        best: the vector of the best background, (dimension,).
    """
    return query * np.float32(best @ best / best_score) if best_score > 0 else query


class StoreFull(ResourceExhausted):
    """There is no room for more: the disk, or the library's quota."""

    reason = "STORE_FULL"


class StoreRestarting(Unavailable):
    """The engine's process has ended and is being started again."""

    reason = "STORE_RESTARTING"


class StoreUnreachable(Unavailable):
    """The Qdrant server does not answer."""

    reason = "STORE_UNREACHABLE"


class StoreFailed(BackdropError):
    """The store could not do what it was asked; the log has the cause."""

    reason = "STORE_FAILED"

    def __init__(self) -> None:
        super().__init__("The vector store failed. The ranker's log says why; a full disk is the usual cause.")


class StoreInUse(FailedPrecondition):
    """Another process owns the store's folder."""

    reason = "STORE_IN_USE"


class StoreNotWritable(FailedPrecondition):
    """The store's folder cannot be made or written."""

    reason = "STORE_NOT_WRITABLE"


class StoreDamaged(FailedPrecondition):
    """The store is there but cannot be read."""

    reason = "STORE_DAMAGED"


class StoreRefused(FailedPrecondition):
    """The Qdrant server does not let the ranker in."""

    reason = "STORE_REFUSED"


class EmbeddingModelChanged(FailedPrecondition):
    """The store holds vectors of another embedding model; they cannot be compared with this one's."""

    reason = "EMBEDDING_MODEL_CHANGED"


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """Which vectors can be compared: those of the same models, of the same dimensions.

    `source` is the setting by which the sentence-embedding model was loaded.
    """

    model: str
    dimension: int
    image_model: str
    image_dimension: int
    source: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.model} ({self.dimension} dimensions) and {self.image_model} ({self.image_dimension} dimensions)"

    @property
    def layout(self) -> Layout:
        """Where each signal lies in a vector of this space."""
        return Layout(self.dimension, self.image_dimension)

    def require(self, stored: "VectorSpace", store: str, setting: str) -> None:
        """Raises `EmbeddingModelChanged` unless `stored`, which `store` holds, is this space.

        Args:
            stored: the space of the vectors in the store.
            store: the store, in words.
            setting: the environment variable that names another, empty store.
        """
        if stored != self:
            raise self.changed_from(stored, store, setting)

    def changed_from(self, stored: "VectorSpace", store: str, setting: str) -> EmbeddingModelChanged:
        """The error of a store that holds vectors of another space; arguments as for `require`."""
        return EmbeddingModelChanged(
            f"{store} holds vectors of {stored}, but the ranker is set to {self}. Set BACKDROP_RANKER_EMBEDDING_MODEL,"
            " BACKDROP_RANKER_IMAGE_MODEL and BACKDROP_RANKER_IMAGE_DIMENSION back, or name a new store with"
            f" {setting} and import the backgrounds again."
        )


async def require_library(store: VectorStore, library: str) -> None:
    """Raises `LibraryNotFound` for a library without backgrounds."""
    if not await store.count(library):
        raise LibraryNotFound(library)
