"""What every vector store promises: the embedded one, and the adapter for a Qdrant server.

The adapter talks to a stand-in always, and to the server at `QDRANT_URL` when that is set.
"""

import os
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_client
from qdrant_client import models

from services.ranker import recommendation_id
from services.ranker.background import Background, Condition, Filter, FreeSpace, PaletteColor, RangeFilter
from services.ranker.config import RankerConfig
from services.ranker.edge_store import open_edge_store
from services.ranker.feedback import Feedback, IndexedFeedback
from services.ranker.recommendation_id import Shown
from services.ranker.rules import IndexedRules, RulesName
from services.ranker.server_collections import connect_server_store
from services.ranker.signals import Signal, Vectors, unit
from services.ranker.vector_store import IndexedBackground, Search, VectorSpace, VectorStore
from tests.unit.services.ranker.edge_server import EdgeServer
from tests.unit.services.ranker.fakes import background

SPACE = VectorSpace("a-model", 8, "eye", 4)
DIMENSION = SPACE.layout.dimension
NOW = datetime(2026, 11, 24, tzinfo=UTC)
QDRANT_URL = os.environ.get("QDRANT_URL", "")
STORES = [
    "edge",
    "stand-in",
    "stand-in, quantized",
    *(
        pytest.param(kind, marks=pytest.mark.skipif(not QDRANT_URL, reason="QDRANT_URL is not set"))
        for kind in ("server", "server, quantized")
    ),
]


@asynccontextmanager
async def open_store(kind: str, folder: Path) -> AsyncIterator[VectorStore]:
    where, _, quantized = kind.partition(", ")
    settings: dict[str, Any] = {"quantized": bool(quantized), "shards": 2 if quantized else 0}
    if where == "edge":
        async with open_edge_store(RankerConfig(store_path=folder / "store"), SPACE) as opened:
            yield opened
    elif where == "stand-in":
        settings["transport"] = server = EdgeServer(folder)
        async with connect_server_store("http://qdrant", "", "backgrounds", SPACE, **settings) as connected:
            assert_made_as_told(server.definition("backgrounds-1"), **settings)
            yield connected
        server.close()
    else:
        collection = f"contract-{uuid.uuid4()}"
        async with connect_server_store(QDRANT_URL, "", collection, SPACE, **settings) as connected:
            yield connected
        client = qdrant_client.AsyncQdrantClient(url=QDRANT_URL)
        await client.delete_collection(f"{collection}-1")
        await client.close()


def assert_made_as_told(collection: models.CreateCollection, quantized: bool, shards: int, **_: Any) -> None:
    assert collection.shard_number == (shards or None)
    [vectors] = (collection.vectors or {}).values()  # type: ignore[union-attr]
    codes = vectors.quantization_config
    assert (vectors.on_disk, codes and codes.turbo.always_ram) == ((True, True) if quantized else (None, None))


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorStore]:
    async with open_store(request.param, tmp_path) as opened:
        yield opened


def random_vector(generator: np.random.Generator) -> Vectors:
    vector = generator.normal(size=DIMENSION).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def indexed(item: Background, vector: Vectors | None = None) -> IndexedBackground:
    if vector is None:
        vector = random_vector(np.random.default_rng(0))
    return IndexedBackground(item, vector)


async def fill(store: VectorStore, *names: str) -> None:
    await store.upsert([indexed(background(name)) for name in names])


def search(library: str, *conditions: Condition, limit: int = 100, **settings: Any) -> Search:
    vector = random_vector(np.random.default_rng(1))
    return Search(library, settings.pop("vector", vector), NOW, conditions, limit, **settings)


async def names(store: VectorStore, wanted: Search) -> list[str]:
    return [each.background.name.background for each in await store.search(wanted)]


async def found(store: VectorStore, library: str, *conditions: Condition, limit: int = 100) -> list[str]:
    return sorted(await names(store, search(library, *conditions, limit=limit)))


async def test_a_background_comes_back_as_it_was(store: VectorStore) -> None:
    stored = background(
        "shop/oak",
        "an oak table",
        "morning light",
        attributes={"surface": ("oak", "wood"), "mood": ("calm",)},
        metadata={"sku": "7", "nested": {"empty": None, "list": [1.5, True, "ü"]}},
        palette=(PaletteColor("#1f3a5f", 0.75), PaletteColor("#ffffff", 0.25)),
        free_space=FreeSpace(8, 8, tuple(number / 64 for number in range(64))),
        width=1200,
        height=900,
        words="Oak table, morning",
        expire_time=datetime(2027, 1, 1, tzinfo=UTC),
    )
    await store.upsert([indexed(stored)])

    assert await store.get(stored.name) == stored


async def test_a_background_that_is_not_there_is_none(store: VectorStore) -> None:
    await fill(store, "shop/oak")

    assert await store.get(background("shop/other").name) is None
    assert await store.get(background("other/oak").name) is None


async def test_upsert_says_what_is_new(store: VectorStore) -> None:
    await fill(store, "shop/b")

    created = await store.upsert([indexed(background(name)) for name in ("shop/a", "shop/b", "other/b")])

    assert created == [True, False, True]


async def test_a_replacement_leaves_nothing_of_what_it_replaces(store: VectorStore) -> None:
    generator = np.random.default_rng(0)
    before, after = random_vector(generator), random_vector(generator)
    old = background("shop/a", "one", attributes={"mood": ("calm",)}, metadata={"old": True}, width=10, height=10)
    new = background("shop/a", "four", attributes={"tone": ("loud",)})
    await store.upsert([indexed(old, before)])
    await store.upsert([indexed(new, after)])

    [match] = await store.search(search("shop", vector=before))

    assert match.background == new
    np.testing.assert_allclose(match.vector, after, atol=1e-3)
    assert await found(store, "shop", Filter("mood", ("calm",))) == []
    assert await found(store, "shop", RangeFilter("width", minimum=1)) == []
    assert await store.attribute_keys("shop") == {"tone"}
    assert await store.count("shop") == 1


async def test_a_deleted_background_is_gone_everywhere(store: VectorStore) -> None:
    await fill(store, "shop/a", "shop/b")

    assert await store.delete([background("shop/a").name, background("shop/none").name]) == [True, False]
    assert await store.delete([background("shop/a").name]) == [False]

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


@pytest.mark.parametrize("library", ["shop", None])
async def test_an_export_holds_each_background_once_with_its_vector(store: VectorStore, library: str | None) -> None:
    generator = np.random.default_rng(0)
    vectors = {f"{place}/b{number}": random_vector(generator) for place in ("shop", "other") for number in range(12)}
    await store.upsert([indexed(background(name), vector) for name, vector in vectors.items()])
    expected = {name: vector for name, vector in vectors.items() if library is None or name.startswith(library)}

    pages = [await store.export_page(library, 5)]
    while pages[-1].next_point is not None:
        pages.append(await store.export_page(library, 5, pages[-1].next_point))

    names = [each.background.name for page in pages for each in page.indexed]
    assert sorted(f"{name.library}/{name.background}" for name in names) == sorted(expected)
    for each in (each for page in pages for each in page.indexed):
        name = each.background.name
        np.testing.assert_allclose(each.vector, expected[f"{name.library}/{name.background}"], atol=1e-3)


async def test_a_page_begins_after_a_background_that_was_deleted_meanwhile(store: VectorStore) -> None:
    await fill(store, *(f"shop/b{number}" for number in range(6)))
    everything = [each.name for each in (await store.page("shop", 10)).backgrounds]
    first = await store.page("shop", 2)
    await store.delete([everything[2]])

    second = await store.page("shop", 10, first.next_point)

    assert [each.name for each in second.backgrounds] == everything[3:]


async def test_libraries_are_kept_apart(store: VectorStore) -> None:
    await fill(store, "one/a", "one/b", "two/a")

    assert await found(store, "one") == ["a", "b"]
    assert await found(store, "two") == ["a"]
    assert len((await store.page("two", 10)).backgrounds) == 1
    assert [await store.count(library) for library in ("one", "two", "on", "three")] == [2, 1, 0, 0]


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
    await store.upsert([indexed(item) for item in items])

    assert await found(store, "shop", *filters) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (RangeFilter("width", minimum=1000), ["large", "wide"]),
        (RangeFilter("width", maximum=999.5), ["small"]),
        (RangeFilter("aspect_ratio", 1.9, 2.1), ["wide"]),
        (RangeFilter("height", minimum=1000, exclude=True), ["small", "unknown", "wide"]),
    ],
)
async def test_ranges_leave_out_what_is_not_known(
    store: VectorStore, condition: RangeFilter, expected: list[str]
) -> None:
    sizes = {"large": (1200, 1200), "wide": (1600, 800), "small": (600, 600), "unknown": (0, 0)}
    items = [background(f"shop/{name}", width=width, height=height) for name, (width, height) in sizes.items()]
    await store.upsert([indexed(item) for item in items])

    assert await found(store, "shop", condition) == expected


async def test_what_has_expired_is_not_found_but_still_there(store: VectorStore) -> None:
    day = timedelta(days=1)
    times = {"gone": NOW - day, "just": NOW, "soon": NOW + day, "never": None}
    await store.upsert([indexed(background(f"shop/{name}", expire_time=time)) for name, time in times.items()])

    assert await found(store, "shop") == ["never", "soon"]
    assert await store.count("shop") == 4


async def test_attribute_keys_are_those_of_one_library(store: VectorStore) -> None:
    items = [
        background("one/a", attributes={"surface": ("oak",), "mood": ("calm",)}),
        background("one/b", attributes={"surface": ("pine",)}),
        background("two/a", attributes={"season": ("winter",)}),
    ]
    await store.upsert([indexed(item) for item in items])

    assert await store.attribute_keys("one") == {"surface", "mood"}
    assert await store.attribute_keys("three") == frozenset()


@pytest.mark.parametrize("seed", range(3))
async def test_search_orders_by_the_dot_product(store: VectorStore, seed: int) -> None:
    generator = np.random.default_rng(seed)
    vectors = [random_vector(generator) for _ in range(60)]
    await store.upsert([indexed(background(f"shop/b{row}"), vector) for row, vector in enumerate(vectors)])
    query = random_vector(generator)

    matches = await store.search(search("shop", vector=query, limit=10))

    scores = np.stack(vectors) @ query
    assert [each.background.name.background for each in matches] == [f"b{row}" for row in (-scores).argsort()[:10]]
    np.testing.assert_allclose([each.score for each in matches], np.sort(scores)[::-1][:10], atol=1e-3)


async def test_words_add_to_the_score_the_rarer_the_more(store: VectorStore) -> None:
    captions = {"oak": "an oak table", "pine": "a pine table", "slate": "a slate floor"}
    same = random_vector(np.random.default_rng(0))
    await store.upsert([indexed(background(f"shop/{name}", words=text), same) for name, text in captions.items()])

    plain = await store.search(search("shop", vector=same))
    matches = await store.search(search("shop", vector=same, words="the oak tables", words_weight=0.5))

    assert [each.background.name.background for each in matches] == ["oak", "pine", "slate"]
    gains = [match.score - plain[0].score for match in matches]
    assert 0.5 > gains[0] > gains[1] > 0.01 > abs(gains[2])


async def test_words_find_what_no_other_signal_does(store: VectorStore) -> None:
    query = random_vector(np.random.default_rng(0))
    items = [indexed(background(f"shop/b{number}", words="a plain wall"), query) for number in range(250)]
    await store.upsert([*items, indexed(background("shop/rare", words="a zebra crossing"), -query)])

    [match] = await store.search(search("shop", vector=query, words="zebras", words_weight=9.0, limit=1))

    assert match.background.name.background == "rare"


async def test_words_obey_filters_and_libraries(store: VectorStore) -> None:
    items = [
        background("shop/a", words="oak", attributes={"mood": ("calm",)}),
        background("shop/b", words="oak"),
        background("other/c", words="oak", attributes={"mood": ("calm",)}),
    ]
    await store.upsert([indexed(item) for item in items])

    wanted = search("shop", Filter("mood", ("calm",)), words="oak", words_weight=1.0)

    assert await names(store, wanted) == ["a"]


async def test_a_diverse_slate_has_the_best_first_and_then_others_than_its_like(store: VectorStore) -> None:
    generator = np.random.default_rng(0)
    query, other = random_vector(generator), random_vector(generator)
    near = [query + 0.01 * random_vector(generator) for _ in range(5)]
    items = {f"near{row}": vector for row, vector in enumerate(near)} | {"other": (0.5 * query + other)}
    await store.upsert([indexed(background(f"shop/{name}"), vector) for name, vector in items.items()])

    plain = await names(store, search("shop", vector=query, limit=3))
    diverse = await names(store, search("shop", vector=query, limit=3, diversity=0.6))

    assert all(name.startswith("near") for name in plain)
    assert diverse[0] == plain[0]
    assert "other" in diverse
    assert await names(store, search("empty", diversity=0.6)) == []


async def test_a_search_gives_no_more_than_its_limit(store: VectorStore) -> None:
    await fill(store, *(f"shop/b{number}" for number in range(8)))

    assert len(await found(store, "shop", limit=3)) == 3


async def test_the_embedded_store_and_the_server_agree(tmp_path: Path) -> None:
    """The same random writes and searches on both give the same answers."""
    kinds = ["edge", "server" if QDRANT_URL else "stand-in"]
    generator = np.random.default_rng(7)
    async with open_store(kinds[0], tmp_path / "one") as one, open_store(kinds[1], tmp_path / "two") as two:
        for _ in range(40):
            await _same_write(generator, one, two)
            wanted = _random_search(generator)
            answers = [await each.search(wanted) for each in (one, two)]
            assert [each.background for each in answers[0]] == [each.background for each in answers[1]], wanted
            np.testing.assert_allclose(*([each.score for each in answer] for answer in answers), atol=1e-4)


_WORDS = ["oak", "pine", "slate", "marble", "sand", "sea", "snow", "city", "wall", "floor", "table", "light"]


async def _same_write(generator: np.random.Generator, one: VectorStore, two: VectorStore) -> None:
    name = background(f"{generator.choice(['shop', 'other'])}/b{generator.integers(30)}").name
    if generator.random() < 0.2:
        assert await one.delete([name]) == await two.delete([name])
        return
    items = [_random_background(generator) for _ in range(3)]
    last = list({each.background.name: each for each in items}.values())
    assert await one.upsert(last) == await two.upsert(last)


def _random_background(generator: np.random.Generator) -> IndexedBackground:
    item = background(
        f"{generator.choice(['shop', 'other'])}/b{generator.integers(30)}",
        words=" ".join(generator.choice(_WORDS, 4)),
        attributes={"surface": (str(generator.choice(_WORDS)),)},
        width=int(generator.integers(1, 2000)),
        height=int(generator.integers(1, 2000)),
        expire_time=NOW + timedelta(days=int(generator.integers(-2, 9))),
    )
    return indexed(item, random_vector(generator))


def _random_search(generator: np.random.Generator) -> Search:
    conditions: list[Condition] = [
        Filter("surface", tuple(map(str, generator.choice(_WORDS, 4))), exclude=bool(generator.random() < 0.5)),
        RangeFilter("width", minimum=float(generator.integers(1000))),
    ]
    return search(
        "shop",
        *conditions[: generator.integers(3)],
        vector=random_vector(generator),
        words=str(generator.choice(_WORDS)),
        words_weight=float(generator.choice([0.0, 0.5])),
        nudges={
            f"b{number}": float(generator.normal()) for number in generator.integers(30, size=generator.integers(4))
        },
        diversity=float(generator.choice([0.0, 0.4])),
        limit=int(generator.integers(1, 12)),
    )


async def test_a_store_that_works_passes_its_check(store: VectorStore) -> None:
    await store.check()


def a_choice(library: str, product: Vectors, *chosen: str) -> IndexedFeedback:
    given = recommendation_id.encode(Shown(product, "eye", ("a", "b", "c")))
    feedback = Feedback(library, given, chosen, (), NOW)
    vector = SPACE.layout.vector({Signal.PHOTO: product})
    return IndexedFeedback(feedback, vector, np.arange(12, dtype=np.float32) / 16)


async def test_feedback_comes_back_the_most_similar_product_first(store: VectorStore) -> None:
    products = [unit((1.0, number / 4, 0.0, 0.0)) for number in range(4)]
    choices = [a_choice("shop", each, "a", "b") for each in products]
    await store.upsert([*choices, a_choice("other", products[0], "c")])

    found = await store.similar_feedback("shop", choices[0].vector, 3)

    assert [each.feedback for each in found] == [each.feedback for each in choices[:3]]
    assert [each.similarity for each in found] == pytest.approx(
        [float(products[0] @ each) for each in products[:3]], abs=1e-3
    )
    assert found[0].direction.tolist() == choices[0].direction.tolist()
    [read] = await store.read([choices[1].name])
    assert read.name == choices[1].name
    assert np.allclose(read.vector, choices[1].vector, atol=1e-3)


async def test_feedback_is_no_background_of_its_library(store: VectorStore) -> None:
    await store.upsert([a_choice("shop", unit((1.0, 0.0, 0.0, 0.0)), "a"), indexed(background("shop/a"))])

    assert await found(store, "shop") == ["a"]
    assert await store.count("shop") == 1
    assert [each.name.background for each in (await store.page("shop", 10)).backgrounds] == ["a"]
    assert len((await store.export_page("shop", 10)).indexed) == 1
    assert len((await store.export_page(None, 10)).indexed) == 2


async def test_feedback_is_paged_and_forgotten(store: VectorStore) -> None:
    choices = [a_choice("shop", unit((1.0, float(number), 0.0, 0.0)), "a") for number in range(5)]
    await store.upsert([*choices, a_choice("other", unit((1.0, 0.0, 0.0, 0.0)), "c")])

    first = await store.feedback_page("shop", 3)
    second = await store.feedback_page("shop", 3, first.next_point)

    paged = [*first.feedback, *second.feedback]
    assert second.next_point is None
    assert {each.name for each in paged} == {each.name for each in choices}
    assert await store.delete([each.name for each in paged]) == [True] * 5
    assert (await store.feedback_page("shop", 3)).feedback == ()
    assert len((await store.feedback_page("other", 3)).feedback) == 1


def rules_of(library: str, *conditions: Condition) -> IndexedRules:
    return IndexedRules(library, conditions, NOW, np.zeros(DIMENSION, dtype=np.float32))


async def test_rules_come_back_as_they_were_and_are_replaced_and_forgotten(store: VectorStore) -> None:
    never_wood = Filter("surface", ("wood", "a=b"), exclude=True)
    rules = rules_of(
        "shop", never_wood, RangeFilter("width", minimum=1200.5), RangeFilter("height", 1, 2, exclude=True)
    )

    assert await store.upsert([rules, rules_of("other", never_wood)]) == [True, True]
    [read] = await store.read([RulesName("shop"), RulesName("none")])
    assert isinstance(read, IndexedRules)
    assert (read.name, read.conditions, read.update_time) == (rules.name, rules.conditions, NOW)
    assert not read.vector.any()
    assert await store.rules("shop") == rules.conditions
    assert await store.rules("none") == ()
    assert await store.upsert([rules_of("shop", never_wood)]) == [False]
    assert [each.conditions for each in await store.read([rules.name])] == [(never_wood,)]  # type: ignore[union-attr]
    assert await store.delete([rules.name]) == [True]
    assert await store.read([rules.name]) == []
    assert len(await store.read([RulesName("other")])) == 1


async def test_rules_are_no_background_and_no_feedback_of_their_library(store: VectorStore) -> None:
    await store.upsert([rules_of("shop", Filter("surface", ("wood",))), indexed(background("shop/a"))])

    assert await found(store, "shop") == ["a"]
    assert await store.count("shop") == 1
    assert await store.attribute_keys("shop") == frozenset()
    assert len((await store.export_page("shop", 10)).indexed) == 1
    assert len((await store.export_page(None, 10)).indexed) == 2
    assert (await store.feedback_page("shop", 3)).feedback == ()
    assert await store.similar_feedback("shop", random_vector(np.random.default_rng(2)), 3) == []


async def test_nudges_add_to_scores_and_reach_what_no_signal_nominates(store: VectorStore) -> None:
    generator = np.random.default_rng(3)
    items = [indexed(background(f"shop/b{number}"), random_vector(generator)) for number in range(300)]
    await store.upsert(items)
    scores = {each.background.name.background: each.score for each in await store.search(search("shop", limit=300))}
    last = min(scores, key=lambda each: scores[each])
    first = max(scores, key=lambda each: scores[each])

    nudged = await store.search(search("shop", limit=300, nudges={last: 3.0, first: -0.25, "not-there": 9.0}))

    by_name = {each.background.name.background: each.score for each in nudged}
    assert nudged[0].background.name.background == last
    assert by_name[last] == pytest.approx(scores[last] + 3, abs=1e-3)
    assert by_name[first] == pytest.approx(scores[first] - 0.25, abs=1e-3)


async def test_nudges_obey_filters(store: VectorStore) -> None:
    await store.upsert([indexed(background("shop/a", attributes={"mood": ("calm",)})), indexed(background("shop/b"))])

    calm = search("shop", Filter("mood", ("calm",)), nudges={"b": 1.0}, words="oak", words_weight=0.5)

    assert await names(store, calm) == ["a"]
