"""The libraries of backgrounds: what the ranker keeps and finds."""

import asyncio
from collections import Counter as Tally
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prometheus_client import Counter

from chassis.errors import InvalidArgument
from services.ranker.background import (
    Background,
    BackgroundName,
    BackgroundNotFound,
    Condition,
    ImageTextEmbedding,
    LibraryNotFound,
)
from services.ranker.feedback import Feedback, FeedbackPage
from services.ranker.filtering import unknown_keys
from services.ranker.index import Index, Version
from services.ranker.recommending import Request, Slate, recommend
from services.ranker.rules import IndexedRules, RulesName
from services.ranker.signals import Signal, background_parts
from services.ranker.vector_store import (
    IndexedBackground,
    IndexedPage,
    Page,
    StoreFull,
    VectorSpace,
    VectorStore,
    require_library,
)

UPSERTED_BACKGROUNDS = Counter("backdrop_ranker_upserted_backgrounds", "Backgrounds stored.")

_EXPORT_PAGE = 100
_RESET_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Library:
    """What is known of a library as a whole.

    Attributes:
        etag: another one after everything that may change how a request is answered; empty when that cannot be told.
        rules: what every hit fulfils.
    """

    etag: str
    rules: Sequence[Condition]


class Catalog:
    """Backgrounds by library, found by how they suit texts and a product.

    Args:
        index: embeds texts and keeps the vectors.
        weights: of the signals, where a request names no others.
        max_backgrounds: of one library; 0 for no limit.
        alone: no other ranker writes to the same store.
    """

    def __init__(
        self,
        index: Index[Any],
        weights: Mapping[Signal, float],
        max_backgrounds: int = 0,
        *,
        alone: bool = True,
    ) -> None:
        self._index = index
        self._weights = dict(weights)
        self._max_backgrounds = max_backgrounds
        self._alone = alone
        self._quota = asyncio.Lock()

    def require_image_model(self, background: Background) -> None:
        """Raises `InvalidArgument` when the background's image embedding is not of the configured model."""
        space, image = self._index.version.space, background.image
        if image and (image.model, len(image.values)) != (space.image_model, space.image_dimension):
            raise InvalidArgument.of(
                "background.image_embedding",
                f"this ranker keeps embeddings of {space.image_model} with {space.image_dimension} values, and got"
                f" {image.model} with {len(image.values)}: set BACKDROP_RANKER_IMAGE_MODEL and"
                " BACKDROP_RANKER_IMAGE_DIMENSION to the captioner's model",
            )

    async def upsert(self, backgrounds: Sequence[Background]) -> list[bool]:
        """Stores backgrounds, each replacing the one of its name; of several with one name, the last one stays.

        Returns:
            For each, whether it was new when its turn came.

        Raises:
            StoreFull: a library would get more than its quota; nothing was stored.
        """
        last = {each.name: each for each in backgrounds}
        async with self._index.writing(last) as version:
            indexed = await embedded(version, list(last.values()))
            if self._max_backgrounds:
                async with self._quota:
                    await self._require_quota(version.store, list(last))
                    created = await version.store.upsert(indexed)
            else:
                created = await version.store.upsert(indexed)
        UPSERTED_BACKGROUNDS.inc(len(last))
        new = {name for name, is_new in zip(last, created, strict=True) if is_new}
        return [_take(new, each.name) for each in backgrounds]

    async def library(self, library: str) -> Library:
        """The library as a whole.

        Raises:
            LibraryNotFound: the library holds nothing, and has no rules.
        """
        etag = self._index.etag(library) if self._alone else ""
        async with self._index.reading() as version:
            rules, count = await asyncio.gather(version.store.rules(library), version.store.count(library))
        if not rules and not count:
            raise LibraryNotFound(library)
        return Library(etag, rules)

    async def set_rules(self, library: str, rules: Sequence[Condition]) -> list[str]:
        """Replaces the rules of a library; returns those of their keys that no background of it has."""
        name = RulesName(library)
        async with self._index.writing([name]) as version:
            if rules:
                vector = version.space.layout.vector({})
                await version.store.upsert([IndexedRules(library, tuple(rules), datetime.now(UTC), vector)])
            else:
                await version.store.delete([name])
            return await unknown_keys(version.store, library, rules)

    async def get(self, name: BackgroundName) -> Background:
        """Reads a background.

        Raises:
            BackgroundNotFound: there is none of that name.
        """
        async with self._index.reading() as version:
            background: Background | None = await version.store.get(name)
        if background is None:
            raise BackgroundNotFound(name)
        return background

    async def delete(self, name: BackgroundName) -> None:
        """Forgets a background.

        Raises:
            BackgroundNotFound: there is none of that name.
        """
        async with self._index.writing([name]) as version:
            [was_there] = await version.store.delete([name])
            if not was_there:
                raise BackgroundNotFound(name)

    async def page(self, library: str, limit: int, first_point: UUID | None = None) -> Page:
        """At most `limit` backgrounds of a library, from `first_point` on.

        Raises:
            LibraryNotFound: the library holds nothing.
        """
        async with self._index.reading() as version:
            page: Page = await version.store.page(library, limit, first_point)
            if not page.backgrounds:
                await require_library(version.store, library)
            return page

    async def export(self, library: str) -> AsyncGenerator[Background, None]:
        """Every background of a library, with its image embedding.

        Raises:
            LibraryNotFound: the library holds nothing.
        """
        first_point = None
        while True:
            # No longer than for a page: the version may be replaced meanwhile.
            async with self._index.reading() as version:
                page: IndexedPage = await version.store.export_page(library, _EXPORT_PAGE, first_point)
                space = version.space
            if first_point is None and not page.indexed:
                raise LibraryNotFound(library)
            for each in page.indexed:
                if isinstance(each, IndexedBackground):
                    yield _with_image(each, space)
            first_point = page.next_point
            if first_point is None:
                return

    async def rank(self, request: Request) -> Slate:
        """The backgrounds that suit best among those that rules and filters leave, those that look the same once.

        Raises:
            LibraryNotFound: the library holds nothing.
            InvalidArgument: a filter names an attribute that no background of the library has, or no signal is left.
        """
        async with self._index.reading() as version:
            return await recommend(version, request, {**self._weights, **request.weights})

    async def record_feedback(self, feedback: Feedback) -> None:
        """Takes down what was said of a recommendation, instead of what was said before; or takes that back.

        Raises:
            InvalidArgument: the recommendation's id is none, or of another image-text model; a background was not
                shown, or is both chosen and rejected.
            LibraryNotFound: the library has none of the backgrounds that were shown.
        """
        feedback.require_shown()
        async with self._index.writing([feedback.name]) as version:
            model = version.space.image_model
            if (feedback.shown.image_model, len(feedback.shown.product)) != (model, version.space.image_dimension):
                raise InvalidArgument.of(
                    "recommendation_id",
                    f"is of {feedback.shown.image_model}, but this ranker compares products by {model}: feedback on it"
                    " cannot be used here",
                )
            indexed = await version.index_feedback(feedback)
            if feedback.chosen or feedback.rejected:
                await version.store.upsert([indexed])
            else:
                await version.store.delete([feedback.name])

    async def feedback_page(self, library: str, limit: int, first_point: UUID | None = None) -> FeedbackPage:
        """At most `limit` recommendations of a library that have feedback, from `first_point` on.

        Raises:
            LibraryNotFound: the library holds no feedback, and no background either.
        """
        async with self._index.reading() as version:
            page: FeedbackPage = await version.store.feedback_page(library, limit, first_point)
            if not page.feedback:
                await require_library(version.store, library)
            return page

    async def reset_feedback(self, library: str) -> int:
        """Forgets all feedback of a library; tells on how many recommendations there was some."""
        forgotten = 0
        while True:
            async with self._index.reading() as version:
                page: FeedbackPage = await version.store.feedback_page(library, _RESET_PAGE)
            if not page.feedback:
                return forgotten
            names = [each.name for each in page.feedback]
            async with self._index.writing(names) as version:
                forgotten += sum(await version.store.delete(names))

    async def _require_quota(self, store: VectorStore, names: Sequence[BackgroundName]) -> None:
        for library, count in Tally(name.library for name in names).items():
            held = await store.count(library)
            if held + count <= self._max_backgrounds:
                continue
            of_library = [name for name in names if name.library == library]
            new = [name for name in of_library if await store.get(name) is None]
            if held + len(new) > self._max_backgrounds:
                raise StoreFull(
                    f"Library libraries/{library} may hold {self._max_backgrounds} backgrounds and has {held}: delete"
                    " some, or have BACKDROP_RANKER_MAX_BACKGROUNDS raised.",
                    metadata={"library": f"libraries/{library}"},
                )


async def embedded(version: Version[Any], backgrounds: Sequence[Background]) -> list[IndexedBackground]:
    """The backgrounds with their vectors."""
    vectors = await version.embedder.embed([caption for each in backgrounds for caption in each.captions])
    indexed = []
    start = 0
    for each in backgrounds:
        end = start + len(each.captions)
        vector = version.space.layout.vector(background_parts(each, vectors[start:end]))
        indexed.append(IndexedBackground(each, vector))
        start = end
    return indexed


def _with_image(indexed: IndexedBackground, space: VectorSpace) -> Background:
    values = space.layout.image_embedding(indexed.vector)
    return replace(indexed.background, image=ImageTextEmbedding(values, space.image_model) if values else None)


def _take(names: set[BackgroundName], name: BackgroundName) -> bool:
    found = name in names
    names.discard(name)
    return found
