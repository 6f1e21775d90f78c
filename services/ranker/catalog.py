"""The libraries of backgrounds: what the ranker keeps and finds."""

from collections.abc import Sequence
from uuid import UUID

from prometheus_client import Counter, Histogram

from services.ranker.background import Background, BackgroundName, BackgroundNotFound, Filter, LibraryNotFound
from services.ranker.ranking import EmbeddedBackground, Hit, WeightedText, rank, weight_shares
from services.ranker.text_embedding import TextEmbedder
from services.ranker.vector_store import Page, VectorStore

SEARCH_SECONDS = Histogram(
    "backdrop_ranker_search_seconds",
    "Seconds in the vector store, by search.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
)
UPSERTED_BACKGROUNDS = Counter("backdrop_ranker_upserted_backgrounds", "Backgrounds stored.")


class Catalog:
    """Backgrounds by library, found by the similarity of their captions to texts.

    Args:
        embedder: turns texts into vectors.
        store: keeps them.
    """

    def __init__(self, embedder: TextEmbedder, store: VectorStore) -> None:
        self._embedder = embedder
        self._store = store

    @property
    def model(self) -> str:
        """The name of the sentence-embedding model."""
        return self._embedder.model

    async def upsert(self, backgrounds: Sequence[Background]) -> list[bool]:
        """Stores backgrounds, each replacing the one of its name; of several with one name, the last one stays.

        Returns:
            For each, whether it was new when its turn came.
        """
        last = {each.name: each for each in backgrounds}
        created = await self._store.upsert(await self._embedded(list(last.values())))
        UPSERTED_BACKGROUNDS.inc(len(last))
        new = {name for name, is_new in zip(last, created, strict=True) if is_new}
        return [_take(new, each.name) for each in backgrounds]

    async def get(self, name: BackgroundName) -> Background:
        """Reads a background.

        Raises:
            BackgroundNotFound: there is none of that name.
        """
        background = await self._store.get(name)
        if background is None:
            raise BackgroundNotFound(name)
        return background

    async def delete(self, name: BackgroundName) -> None:
        """Forgets a background.

        Raises:
            BackgroundNotFound: there is none of that name.
        """
        if not await self._store.delete(name):
            raise BackgroundNotFound(name)

    async def page(self, library: str, limit: int, first_point: UUID | None = None) -> Page:
        """At most `limit` backgrounds of a library, from `first_point` on.

        Raises:
            LibraryNotFound: the library holds nothing.
        """
        page = await self._store.page(library, limit, first_point)
        if not page.backgrounds:
            await self._require(library)
        return page

    async def rank(
        self, library: str, texts: Sequence[WeightedText], filters: Sequence[Filter], limit: int
    ) -> list[Hit]:
        """The `limit` backgrounds whose captions are most like the texts, the best first.

        Raises:
            LibraryNotFound: the library holds nothing.
        """
        vectors = await self._embedder.embed([each.text for each in texts])
        query = vectors * weight_shares(texts)[:, None]
        with SEARCH_SECONDS.time():
            candidates = await self._store.search(library, query, filters, limit)
        if not candidates:
            await self._require(library)
        return rank(texts, vectors, candidates)

    async def _embedded(self, backgrounds: Sequence[Background]) -> list[EmbeddedBackground]:
        vectors = await self._embedder.embed([caption for each in backgrounds for caption in each.captions])
        embedded = []
        start = 0
        for each in backgrounds:
            end = start + len(each.captions)
            embedded.append(EmbeddedBackground(each, vectors[start:end]))
            start = end
        return embedded

    async def _require(self, library: str) -> None:
        if not await self._store.contains(library):
            raise LibraryNotFound(library)


def _take(names: set[BackgroundName], name: BackgroundName) -> bool:
    found = name in names
    names.discard(name)
    return found
