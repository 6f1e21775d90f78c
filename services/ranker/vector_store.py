"""What the ranker needs of a vector store, and how stores fail.

One background is one point with a multivector: a row for each caption. A multivector is compared by MaxSim, which sums,
over the rows of the query, each row's largest dot product with a row of the point. With unit vectors, and the query's
rows scaled by the weights of their texts, that sum is the ranker's score itself, so the engine orders whole
backgrounds exactly as the contract says. With a point a caption it could not: a search a text would be needed, each
deep enough to hold every background that is good on average and best for none, and joined afterwards; and replacing a
background would be a deletion and several insertions that a crash can tear apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from chassis.errors import BackdropError, FailedPrecondition, Unavailable
from services.ranker.background import Background, BackgroundName, Filter
from services.ranker.ranking import EmbeddedBackground, Vectors


@dataclass(frozen=True, slots=True)
class Page:
    """Some backgrounds of a library, and the point to go on from; None after the last."""

    backgrounds: tuple[Background, ...]
    next_point: UUID | None


class VectorStore(Protocol):
    """Backgrounds and their vectors, by library. Every method may raise the errors of this module."""

    async def upsert(self, backgrounds: Sequence[EmbeddedBackground]) -> list[bool]:
        """Stores backgrounds of different names, each replacing the one of its name.

        On return they survive the death of this process.

        Returns:
            For each, whether it is new.
        """
        ...

    async def get(self, name: BackgroundName) -> Background | None:
        """The background of that name, if there is one."""
        ...

    async def delete(self, name: BackgroundName) -> bool:
        """Forgets a background; says whether there was one."""
        ...

    async def page(self, library: str, limit: int, first_point: UUID | None = None) -> Page:
        """At most `limit` backgrounds of the library from `first_point` on, in the order of their points."""
        ...

    async def contains(self, library: str) -> bool:
        """Whether the library holds a background."""
        ...

    async def search(
        self, library: str, query: Vectors, filters: Sequence[Filter], limit: int
    ) -> list[EmbeddedBackground]:
        """The backgrounds of the library with the largest MaxSim, the best first.

        Args:
            library: the only library that is read.
            query: one row a text, (texts, dimension): a unit vector times the text's weight.
            filters: what a background must hold, all of it.
            limit: the most backgrounds to return.
        """
        ...

    async def check(self) -> None:
        """Raises when the store cannot be used now."""
        ...


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
    """Which vectors can be compared: those of one model, of one dimension."""

    model: str
    dimension: int

    def __str__(self) -> str:
        return f"{self.model} ({self.dimension} dimensions)"

    def require(self, stored: "VectorSpace", store: str, setting: str) -> None:
        """Raises `EmbeddingModelChanged` unless `stored`, which `store` holds, is this space.

        Args:
            stored: the space of the vectors in the store.
            store: the store, in words.
            setting: the environment variable that names another, empty store.
        """
        if stored != self:
            raise EmbeddingModelChanged(
                f"{store} holds vectors of {stored}, but the ranker is set to {self}. Set"
                f" BACKDROP_RANKER_EMBEDDING_MODEL back, or name a new store with {setting} and import the"
                " backgrounds again."
            )
