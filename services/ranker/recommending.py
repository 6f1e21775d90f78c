"""One recommendation: what is looked for, and what is found in a version of the index."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from prometheus_client import Histogram

from chassis.errors import InvalidArgument
from chassis.tracing import span
from services.ranker import recommendation_id, slate
from services.ranker.background import Condition
from services.ranker.feedback import MOST, Lesson, learn
from services.ranker.filtering import require_known_keys, why_empty
from services.ranker.index import Version
from services.ranker.ranking import Hit, Product, Query, UnusedSignal, WeightedText, explain, plan
from services.ranker.recommendation_id import Shown
from services.ranker.signals import Signal, Vectors, unit
from services.ranker.vector_store import Found, Search, require_library

SEARCH_SECONDS = Histogram(
    "backdrop_ranker_search_seconds",
    "Seconds in the vector store, by search.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
)

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


async def recommend(version: Version[Any], request: Request, weights: Mapping[Signal, float]) -> Slate:
    """The backgrounds of a version that suit best among those that rules and filters leave, looking the same once.

    Args:
        version: of the index.
        request: what is looked for.
        weights: of all signals.

    Raises:
        LibraryNotFound: the library holds nothing.
        InvalidArgument: a filter names an attribute that no background of the library has, or no signal is left.
    """
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
        await require_library(version.store, request.library)
        await require_known_keys(version.store, request.library, request.conditions)
    return Slate(
        hits,
        query.unused,
        version.space.model,
        _recommendation_id(version, request, hits),
        rules,
        "" if hits else await _why_empty(version, request, query, rules),
    )


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


def _stacked(found: Sequence[Found]) -> Vectors:
    return np.stack([each.vector for each in found]) if found else np.zeros((0, 0), dtype=np.float32)
