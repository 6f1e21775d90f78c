"""What every vector store promises: the embedded one, and the adapter for a Qdrant server.

The adapter talks to a stand-in always, and to the server at `QDRANT_URL` when that is set.
"""

import os
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import qdrant_client

from services.ranker.background import Background, Filter
from services.ranker.edge_store import open_edge_store
from services.ranker.ranking import EmbeddedBackground, Vectors, WeightedText, rank, weight_shares
from services.ranker.server_store import connect_server_store
from services.ranker.vector_store import VectorSpace, VectorStore
from tests.unit.services.ranker.edge_server import EdgeServer
from tests.unit.services.ranker.fakes import background

SPACE = VectorSpace("a-model", 8)
QDRANT_URL = os.environ.get("QDRANT_URL", "")
STORES = [
    "edge",
    "stand-in",
    pytest.param("server", marks=pytest.mark.skipif(not QDRANT_URL, reason="QDRANT_URL is not set")),
]


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorStore]:
    if request.param == "edge":
        async with open_edge_store(tmp_path / "store", SPACE) as opened:
            yield opened
    elif request.param == "stand-in":
        server = EdgeServer(tmp_path)
        async with connect_server_store("http://qdrant", "", "backgrounds", SPACE, transport=server) as connected:
            yield connected
        server.close()
    else:
        collection = f"contract-{uuid.uuid4()}"
        async with connect_server_store(QDRANT_URL, "", collection, SPACE) as connected:
            yield connected
        client = qdrant_client.AsyncQdrantClient(url=QDRANT_URL)
        await client.delete_collection(collection)
        await client.close()


def random_vectors(generator: np.random.Generator, count: int) -> Vectors:
    vectors = generator.normal(size=(count, SPACE.dimension)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def embedded(item: Background, vectors: Vectors | None = None) -> EmbeddedBackground:
    if vectors is None:
        vectors = random_vectors(np.random.default_rng(0), len(item.captions))
    return EmbeddedBackground(item, vectors)


async def fill(store: VectorStore, *names: str) -> None:
    await store.upsert([embedded(background(name)) for name in names])


async def found(store: VectorStore, library: str, *filters: Filter, limit: int = 100) -> list[str]:
    query = random_vectors(np.random.default_rng(1), 1)
    return sorted(each.background.name.background for each in await store.search(library, query, filters, limit))


async def test_a_background_comes_back_as_it_was(store: VectorStore) -> None:
    stored = background(
        "shop/oak",
        "an oak table",
        "morning light",
        attributes={"surface": ("oak", "wood"), "mood": ("calm",)},
        metadata={"sku": "7", "nested": {"empty": None, "list": [1.5, True, "ü"]}},
    )
    await store.upsert([embedded(stored)])

    assert await store.get(stored.name) == stored


async def test_a_background_that_is_not_there_is_none(store: VectorStore) -> None:
    await fill(store, "shop/oak")

    assert await store.get(background("shop/other").name) is None
    assert await store.get(background("other/oak").name) is None


async def test_upsert_says_what_is_new(store: VectorStore) -> None:
    await fill(store, "shop/b")

    created = await store.upsert([embedded(background(name)) for name in ("shop/a", "shop/b", "other/b")])

    assert created == [True, False, True]


async def test_a_replacement_leaves_nothing_of_what_it_replaces(store: VectorStore) -> None:
    generator = np.random.default_rng(0)
    before = random_vectors(generator, 3)
    after = random_vectors(generator, 1)
    old = background("shop/a", "one", "two", "three", attributes={"mood": ("calm",)}, metadata={"old": True})
    new = background("shop/a", "four", attributes={"mood": ("loud",)})
    await store.upsert([embedded(old, before)])
    await store.upsert([embedded(new, after)])

    [match] = await store.search("shop", before[:1], (), 10)

    assert match.background == new
    np.testing.assert_allclose(match.vectors, after, atol=1e-6)
    assert await found(store, "shop", Filter("mood", ("calm",))) == []
    assert len((await store.page("shop", 10)).backgrounds) == 1


async def test_a_deleted_background_is_gone_everywhere(store: VectorStore) -> None:
    await fill(store, "shop/a", "shop/b")

    assert await store.delete(background("shop/a").name)
    assert not await store.delete(background("shop/a").name)

    assert await store.get(background("shop/a").name) is None
    assert await found(store, "shop") == ["b"]
    assert [each.name.background for each in (await store.page("shop", 10)).backgrounds] == ["b"]


async def test_pages_hold_each_background_once(store: VectorStore) -> None:
    names = {f"b{number}" for number in range(25)}
    await fill(store, *(f"shop/{name}" for name in names), "other/x")

    pages = [await store.page("shop", 10)]
    while pages[-1].next_point is not None:
        pages.append(await store.page("shop", 10, pages[-1].next_point))

    assert [len(page.backgrounds) for page in pages] == [10, 10, 5]
    assert {each.name.background for page in pages for each in page.backgrounds} == names


async def test_a_page_begins_after_a_background_that_was_deleted_meanwhile(store: VectorStore) -> None:
    await fill(store, *(f"shop/b{number}" for number in range(6)))
    everything = [each.name for each in (await store.page("shop", 10)).backgrounds]
    first = await store.page("shop", 2)
    await store.delete(everything[2])

    second = await store.page("shop", 10, first.next_point)

    assert [each.name for each in second.backgrounds] == everything[3:]


async def test_libraries_are_kept_apart(store: VectorStore) -> None:
    await fill(store, "one/a", "one/b", "two/a")

    assert await found(store, "one") == ["a", "b"]
    assert await found(store, "two") == ["a"]
    assert len((await store.page("two", 10)).backgrounds) == 1
    assert await store.contains("one")
    assert not await store.contains("on")
    assert not await store.contains("three")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([Filter("surface", ("wood",))], ["oak", "pine"]),
        ([Filter("surface", ("stone", "pine"))], ["marble", "pine"]),
        ([Filter("surface", ("wood",)), Filter("mood", ("calm",))], ["oak"]),
        ([Filter("surface", ("wood",), exclude=True)], ["bare", "marble"]),
        ([Filter("surface", ("wood",)), Filter("mood", ("calm", "loud"), exclude=True)], ["pine"]),
        ([Filter("surface", ("Wood",))], []),
        ([Filter("mood", ("wood",))], []),
        ([Filter("unheard_of", ("wood",))], []),
        ([Filter("unheard_of", ("wood",), exclude=True)], ["bare", "marble", "oak", "pine"]),
    ],
)
async def test_all_filters_must_hold(store: VectorStore, filters: Sequence[Filter], expected: list[str]) -> None:
    items = [
        background("shop/oak", attributes={"surface": ("oak", "wood"), "mood": ("calm",)}),
        background("shop/pine", attributes={"surface": ("pine", "wood")}),
        background("shop/marble", attributes={"surface": ("stone",), "mood": ("calm",)}),
        background("shop/bare"),
    ]
    await store.upsert([embedded(item) for item in items])

    assert await found(store, "shop", *filters) == expected


@pytest.mark.parametrize("seed", range(3))
async def test_search_orders_by_the_score_of_the_contract(store: VectorStore, seed: int) -> None:
    generator = np.random.default_rng(seed)
    candidates = []
    for number in range(60):
        captions = tuple(f"caption {each}" for each in range(generator.integers(1, 6)))
        vectors = random_vectors(generator, len(captions))
        candidates.append(embedded(background(f"shop/b{number}", *captions), vectors))
    await store.upsert(candidates)
    texts = [WeightedText("first", 5), WeightedText("second", 1), WeightedText("third", 0.5)]
    text_vectors = random_vectors(generator, 3)

    matches = await store.search("shop", text_vectors * weight_shares(texts)[:, None], (), 10)

    best = rank(texts, text_vectors, candidates)[:10]
    assert [each.background.name for each in matches] == [each.background.name for each in best]


async def test_a_search_gives_no_more_than_its_limit(store: VectorStore) -> None:
    await fill(store, *(f"shop/b{number}" for number in range(8)))

    assert len(await found(store, "shop", limit=3)) == 3


async def test_a_store_that_works_passes_its_check(store: VectorStore) -> None:
    await store.check()
