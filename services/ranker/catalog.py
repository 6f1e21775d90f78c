"""The libraries of backgrounds: what the ranker keeps and finds."""

import asyncio
from collections import Counter as Tally
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
from prometheus_client import Counter, Histogram

from chassis.errors import InvalidArgument
from chassis.tracing import span
from services.ranker import recommendation_id, slate
from services.ranker.background import (
    Background,
    BackgroundName,
    BackgroundNotFound,
    Condition,
    ImageTextEmbedding,
    LibraryNotFound,
)
from services.ranker.feedback import MOST, Feedback, FeedbackPage, Lesson, learn
from services.ranker.filtering import require_known_keys, unknown_keys, why_empty
from services.ranker.index import Index, Version
from services.ranker.ranking import Hit, Product, Query, UnusedSignal, WeightedText, explain, plan
from services.ranker.recommendation_id import Shown
from services.ranker.rules import IndexedRules, RulesName
from services.ranker.signals import Signal, Vectors, background_parts, unit
from services.ranker.vector_store import (
    Found,
    IndexedBackground,
    IndexedPage,
    Page,
    Search,
    StoreFull,
    VectorSpace,
    VectorStore,
)

SEARCH_SECONDS = Histogram(
    "backdrop_ranker_search_seconds",
    "Seconds in the vector store, by search.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
)
UPSERTED_BACKGROUNDS = Counter("backdrop_ranker_upserted_backgrounds", "Backgrounds stored.")

_EXPORT_PAGE = 100
_RESET_PAGE = 1000
_SPARE = 8
"""Backgrounds that a search asks for beyond the limit, in place of those that look the same."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is looked for; fields as in the contract. `weights` replaces the configured ones of the signals it names."""

    library: str
    texts: Sequence[WeightedText]
    conditions: Sequence[Condition] = ()
    limit: int = 10
    product: Product = field(default_factory=Product)
    diversity: float = 0.0
    weights: Mapping[Signal, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slate:
    """What was found.

    Attributes:
        hits: the best first.
        unused: signals that took no part in them.
        model: the sentence-embedding model that compared.
        recommendation_id: by which feedback is given; empty where none can be.
        rules: of the library, which all hits fulfil.
        empty_reason: why there are no hits, in whole sentences.
    """

    hits: list[Hit]
    unused: tuple[UnusedSignal, ...]
    model: str
    recommendation_id: str = ""
    rules: Sequence[Condition] = ()
    empty_reason: str = ""


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
                await _require(version.store, library)
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
            weights = {**self._weights, **request.weights}
            vectors, lesson, rules = await asyncio.gather(
                version.embedder.embed([each.text for each in request.texts]),
                _lesson(version, request, weights),
                version.store.rules(request.library),
            )
            query = plan(request.texts, vectors, request.product, weights, version.space.image_model, lesson)
            if not query.weights:
                raise InvalidArgument.of("weights", "no signal is left to rank by; give one of them a weight above 0")
            hits = await _slate(version, _with_rules(request, rules), query)
            if not hits or any(each.exclude for each in request.conditions):
                await _require(version.store, request.library)
                await require_known_keys(version.store, request.library, request.conditions)
            return Slate(
                hits,
                query.unused,
                version.space.model,
                _recommendation_id(version, request, hits),
                rules,
                "" if hits else await _why_empty(version, request, query, rules),
            )

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
                await _require(version.store, library)
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


async def _slate(version: Version[Any], request: Request, query: Query) -> list[Hit]:
    """Looks for more than are wanted until enough are left without those that look the same."""
    layout = version.space.layout
    wanted = request.limit + _SPARE
    while True:
        found = await _search(version, request, query, wanted)
        hits = slate.collapse(explain(query, layout, found), _stacked(found), layout)
        if len(hits) >= request.limit or len(found) < wanted:
            return hits[: request.limit]
        wanted *= 4


async def _search(version: Version[Any], request: Request, query: Query, limit: int) -> list[Found]:
    search = Search(
        library=request.library,
        vector=query.vector(version.space.layout),
        now=datetime.now(UTC),
        conditions=request.conditions,
        limit=limit,
        words=query.words,
        words_weight=query.weights.get(Signal.KEYWORDS, 0.0),
        nudges=query.nudges,
        diversity=request.diversity,
    )
    with SEARCH_SECONDS.time(), span("search", {"backdrop.limit": limit}):
        found: list[Found] = await version.store.search(search)
    # Backgrounds of one score stand in the order of their names; a diverse slate has an order of its own.
    return found if request.diversity else sorted(found, key=lambda each: (-each.score, str(each.background.name)))


def _with_rules(request: Request, rules: Sequence[Condition]) -> Request:
    return replace(request, conditions=(*rules, *request.conditions))


async def _why_empty(version: Version[Any], request: Request, query: Query, rules: Sequence[Condition]) -> str:
    async def leave_something(conditions: Sequence[Condition]) -> bool:
        return bool(await _search(version, replace(request, conditions=conditions), query, 1))

    return await why_empty(request.library, rules, leave_something)


async def _lesson(version: Version[Any], request: Request, weights: Mapping[Signal, float]) -> Lesson | None:
    """What feedback on similar products of the library teaches; None where it does not count."""
    product = _product(version, request)
    if product is None or not weights.get(Signal.FEEDBACK):
        return None
    vector = version.space.layout.vector({Signal.PHOTO: product})
    with span("feedback lookup"):
        return learn(await version.store.similar_feedback(request.library, vector, MOST))


def _product(version: Version[Any], request: Request) -> Vectors | None:
    """The photo's unit vector, by which products are found similar; None where they cannot be compared."""
    photo = request.product.photo
    if photo is None or photo.model != version.space.image_model or not any(photo.values):
        return None
    return unit(photo.values)


def _recommendation_id(version: Version[Any], request: Request, hits: Sequence[Hit]) -> str:
    product = _product(version, request)
    if not hits or product is None:
        return ""
    backgrounds = tuple(hit.background.name.background for hit in hits)
    return recommendation_id.encode(Shown(product, version.space.image_model, backgrounds))


async def _require(store: VectorStore, library: str) -> None:
    if not await store.count(library):
        raise LibraryNotFound(library)


def _stacked(found: Sequence[Found]) -> Vectors:
    return np.stack([each.vector for each in found]) if found else np.zeros((0, 0), dtype=np.float32)


def _with_image(indexed: IndexedBackground, space: VectorSpace) -> Background:
    values = space.layout.image_embedding(indexed.vector)
    return replace(indexed.background, image=ImageTextEmbedding(values, space.image_model) if values else None)


def _take(names: set[BackgroundName], name: BackgroundName) -> bool:
    found = name in names
    names.discard(name)
    return found
