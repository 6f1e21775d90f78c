"""One version of the index takes the place of another, while requests go on."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from services.ranker import compaction, recommendation_id, reembedding
from services.ranker.background import Background, Filter
from services.ranker.compaction import compact
from services.ranker.config import RankerConfig
from services.ranker.edge_store import EdgeFolder, EdgeStore, open_edge_folder
from services.ranker.feedback import Feedback, IndexedFeedback
from services.ranker.index import Index, Version
from services.ranker.recommendation_id import Shown
from services.ranker.rules import IndexedRules, RulesName
from services.ranker.server_collections import connect_server
from services.ranker.signals import unit
from services.ranker.text_embedding import TextEmbedder
from services.ranker.vector_store import Search, StoreFailed, VectorSpace
from tests.unit.services.ranker.edge_server import EdgeServer
from tests.unit.services.ranker.fakes import (
    IMAGE_DIMENSION,
    IMAGE_MODEL,
    NOW,
    WordCounter,
    background,
    indexed,
    space_of,
)

SPACE = space_of()
WIDER = replace(space_of(512), model="wider")


class Wider(WordCounter):
    def __init__(self) -> None:
        super().__init__(512)
        self.model = "wider"


@asynccontextmanager
async def opened(folder: EdgeFolder, embedder: TextEmbedder) -> AsyncIterator[Index[EdgeStore]]:
    version = await Version.open(embedder, SPACE, folder.open_space(SPACE))
    await folder.use(version.store)
    async with aclosing(Index(version)) as index:
        yield index


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[EdgeFolder]:
    with open_edge_folder(RankerConfig(store_path=tmp_path / "store")) as opened_folder:
        yield opened_folder


@pytest.fixture
def embedder() -> Iterator[TextEmbedder]:
    with TextEmbedder(WordCounter(), 100) as each:
        yield each


async def write(index: Index[EdgeStore], *backgrounds: Background) -> None:
    async with index.writing([each.name for each in backgrounds]) as version:
        captions = [await version.embedder.embed(each.captions) for each in backgrounds]
        await version.store.upsert(
            [indexed(each, rows, version.space) for each, rows in zip(backgrounds, captions, strict=True)]
        )


async def best(index: Index[EdgeStore], text: str, limit: int = 1) -> list[str]:
    async with index.reading() as version:
        [text_vector] = await version.embedder.embed([text])
        blocks = version.space.layout
        vector = blocks.with_text(text_vector, 0 * (await version.store.export_page(None, 1)).indexed[0].vector)
        found = await version.store.search(Search("shop", vector, NOW, limit=limit))
        return [each.background.name.background for each in found]


async def test_a_compact_version_holds_what_was_written_before_and_meanwhile(
    folder: EdgeFolder, embedder: TextEmbedder
) -> None:
    async with opened(folder, embedder) as index:
        await write(index, *(background(f"shop/b{number}", f"caption {number}") for number in range(50)))
        first = index.version.store
        compacting = asyncio.create_task(compact(index, folder))
        number = 0
        while not compacting.done():
            await write(
                index, background(f"shop/late{number}", f"late {number}"), background("shop/b0", f"new {number}")
            )
            async with index.writing([background("shop/b1").name]) as version:
                await version.store.delete([background("shop/b1").name])
            assert await best(index, f"late {number}") == [f"late{number}"]
            number += 1
        await compacting

        assert index.version.store is not first
        assert number > 1
        assert await index.version.store.count("shop") == 49 + number
        assert await best(index, f"new {number - 1}") == ["b0"]
    # What is opened later is the compact version.
    async with opened(folder, embedder) as index:
        assert index.version.store.number == 2
        assert await index.version.store.count("shop") == 49 + number


async def test_a_store_that_is_left_alone_is_compacted_once(
    folder: EdgeFolder, embedder: TextEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "LEAST", 20)
    monkeypatch.setattr(compaction, "LOOK_EVERY_S", 0.05)
    async with opened(folder, embedder) as index:
        keeping = asyncio.create_task(compaction.keep_compact(index, folder))
        await write(index, *(background(f"shop/b{number}", f"caption {number}") for number in range(50)))
        while index.version.store.number == 1 or index.replacing.locked():
            await asyncio.sleep(0.05)
        assert index.version.store.unoptimized < 20

        for _ in range(20):
            await asyncio.sleep(0.05)
            assert not index.replacing.locked(), "it is compacted again"

        keeping.cancel()
    # Nor when the ranker starts again.
    async with opened(folder, embedder) as index:
        assert (index.version.store.size, index.version.store.unoptimized) == (50, 0)


async def test_a_compaction_that_fails_leaves_the_version_in_use(
    folder: EdgeFolder, embedder: TextEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(folder, embedder) as index:
        await write(index, background("shop/a"))
        first = index.version.store

        async def refuse(store: EdgeStore) -> None:
            raise StoreFailed

        monkeypatch.setattr(folder, "use", refuse)
        with pytest.raises(StoreFailed):
            await compact(index, folder)
        await write(index, background("shop/b"))

        assert index.version.store is first
        assert await first.count("shop") == 2


async def test_another_model_takes_over_and_gives_back_without_a_pause(
    folder: EdgeFolder, embedder: TextEmbedder
) -> None:
    wide = Wider()
    with TextEmbedder(wide, 100) as other:
        async with opened(folder, embedder) as index:
            await write(index, *(background(f"shop/b{number}", f"caption {number}") for number in range(250)))
            await _move_while_writing(index, other, WIDER, folder)
            assert await folder.space_in_use() == WIDER
            assert index.version.space == WIDER
            read = len(wide.batches)

            await write(index, background("shop/b2", "quite another"))
            await _move_while_writing(index, embedder, SPACE, folder)
            await _move_while_writing(index, other, WIDER, folder)
            # What had not changed since was not read again; number 77 is what is asked for.
            read_again = {text for batch in wide.batches[read:] for text in batch if text.startswith("caption")}
            assert read_again <= {"caption 77"}
            assert await best(index, "quite another") == ["b2"]


async def _move_while_writing(
    index: Index[EdgeStore], embedder: TextEmbedder, space: VectorSpace, folder: EdgeFolder
) -> None:
    moving = asyncio.create_task(reembedding.reembed(index, embedder, space, folder))
    number = 0
    while not moving.done():
        late = background("shop/late", f"{space.model} {number}")
        await write(index, replace(late, update_time=NOW + timedelta(seconds=number)))
        assert await best(index, f"{space.model} {number}") == ["late"]
        assert await best(index, "caption 77") == ["b77"]
        number += 1
    await moving
    assert await best(index, f"{space.model} {number - 1}") == ["late"]


async def test_what_was_deleted_is_deleted_from_a_version_that_is_taken_up_again(
    folder: EdgeFolder, embedder: TextEmbedder
) -> None:
    with TextEmbedder(Wider(), 100) as other:
        async with opened(folder, embedder) as index:
            await write(index, background("shop/a", "a"), background("shop/b", "b"))
            await reembedding.reembed(index, other, WIDER, folder)
            async with index.writing([background("shop/a").name]) as version:
                await version.store.delete([background("shop/a").name])
            await reembedding.reembed(index, embedder, SPACE, folder)

            assert await best(index, "a", limit=5) == ["b"]


async def test_feedback_moves_along_and_teaches_by_the_new_vectors(folder: EdgeFolder, embedder: TextEmbedder) -> None:
    with TextEmbedder(Wider(), 100) as other:
        async with opened(folder, embedder) as index:
            await write(index, *(background(f"shop/b{number}", f"caption {number}") for number in range(3)))
            first, late = a_choice("b0", "b1", "b2"), a_choice("b0", "b1")
            await give(index, first)
            await compact(index, folder)
            moving = asyncio.create_task(reembedding.reembed(index, other, WIDER, folder))
            await give(index, late)
            await moving

            async with index.reading() as version:
                found = await version.store.read([first.name, late.name])
                expected = {each.name: await version.index_feedback(each) for each in (first, late)}
            assert len(found) == 2
            for each in found:
                assert isinstance(each, IndexedFeedback)
                assert each.direction.shape == (WIDER.layout.taught.stop,)
                np.testing.assert_allclose(each.direction, expected[each.name].direction, atol=1e-3)
                assert np.abs(each.direction).max() > 0.1


def a_choice(chosen: str, *others: str) -> Feedback:
    shown = Shown(unit((1.0, *[0.0] * (IMAGE_DIMENSION - 1))), IMAGE_MODEL, (*others, chosen))
    return Feedback("shop", recommendation_id.encode(shown), (chosen,), (), NOW)


async def give(index: Index[EdgeStore], feedback: Feedback) -> None:
    async with index.writing([feedback.name]) as version:
        await version.store.upsert([await version.index_feedback(feedback)])


async def test_rules_move_along_with_compaction_and_model(folder: EdgeFolder, embedder: TextEmbedder) -> None:
    early, late = Filter("surface", ("wood",), exclude=True), Filter("mood", ("calm",))
    with TextEmbedder(Wider(), 100) as other:
        async with opened(folder, embedder) as index:
            await write(index, *(background(f"shop/b{number}", f"caption {number}") for number in range(3)))
            await rule(index, "shop", early)
            await rule(index, "gone", early)
            await compact(index, folder)
            moving = asyncio.create_task(reembedding.reembed(index, other, WIDER, folder))
            await rule(index, "late", late)
            async with index.writing([RulesName("gone")]) as version:
                await version.store.delete([RulesName("gone")])
            await moving

            async with index.reading() as version:
                found = await version.store.read([RulesName(each) for each in ("shop", "late", "gone")])
            rules = {each.library: each.conditions for each in found if isinstance(each, IndexedRules)}
            assert rules == {"shop": (early,), "late": (late,)}
            assert {each.vector.shape for each in found} == {(WIDER.layout.dimension,)}


async def rule(index: Index[EdgeStore], library: str, condition: Filter) -> None:
    async with index.writing([RulesName(library)]) as version:
        vector = version.space.layout.vector({})
        await version.store.upsert([IndexedRules(library, (condition,), NOW, vector)])


async def test_collections_of_a_server_change_places_behind_an_alias(tmp_path: Path, embedder: TextEmbedder) -> None:
    server = EdgeServer(tmp_path)
    async with connect_server("http://qdrant", "", "backgrounds", transport=server) as collections:
        assert await collections.space_in_use() is None
        version = await Version.open(embedder, SPACE, collections.open_space(SPACE))
        await collections.use(version.store)
        with TextEmbedder(Wider(), 100) as other:
            async with aclosing(Index(version)) as index:
                await write(index, background("shop/a", "an oak table"), background("shop/b", "a beach"))
                await reembedding.reembed(index, other, WIDER, collections)

                assert await best(index, "an oak table") == ["a"]
                assert await collections.space_in_use() == WIDER
                assert index.version.store.collection == "backgrounds-2"
        assert _names(server) == ["backgrounds-1", "backgrounds-2"]
    server.close()


def _names(server: EdgeServer) -> Sequence[str]:
    return sorted(server.collections)
