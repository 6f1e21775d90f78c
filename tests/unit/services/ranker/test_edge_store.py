"""What only the embedded store promises; what every store does is in the contract suite."""

import asyncio
import shutil
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from services.ranker.config import RankerConfig
from services.ranker.edge_store import EdgeStore, open_edge_store
from services.ranker.vector_store import (
    EmbeddingModelChanged,
    StoreDamaged,
    StoreFull,
    StoreInUse,
    StoreRestarting,
    VectorSpace,
)
from tests.unit.services.ranker.fakes import WordCounter, background, indexed, space_of

SPACE = space_of()
VECTORS = WordCounter().encode(["a wooden table"])


def opened(path: Path, space: VectorSpace = SPACE, **settings: int) -> AbstractAsyncContextManager[EdgeStore]:
    return open_edge_store(RankerConfig(store_path=path, **settings), space)


async def fill(path: Path, count: int = 5) -> None:
    async with opened(path) as store:
        await store.upsert([indexed(background(f"shop/b{number}"), VECTORS, SPACE) for number in range(count)])


async def test_a_store_that_was_closed_opens_with_all_it_held(tmp_path: Path) -> None:
    await fill(tmp_path / "store")

    async with opened(tmp_path / "store") as store:
        assert len((await store.page("shop", 10)).backgrounds) == 5


async def test_a_folder_in_use_is_refused_and_its_owner_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path / "store") as store:
        with pytest.raises(StoreInUse):
            async with opened(tmp_path / "store"):
                pass
        assert await store.count("shop") == 0


async def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    await fill(tmp_path / "store")

    with pytest.raises(EmbeddingModelChanged, match="word-counter"):
        async with opened(tmp_path / "store", replace(SPACE, model="another")):
            pass


@pytest.mark.parametrize(
    "damaged", ["edge_config.json", "wal/open-1", "segments/*/segment.json", "segments/*/payload_storage/page_0.dat"]
)
@pytest.mark.parametrize("content", [b"", b"\xff\x00garbage" * 100], ids=["empty", "garbage"])
async def test_a_damaged_folder_is_refused_and_can_be_replaced(tmp_path: Path, damaged: str, content: bytes) -> None:
    path = tmp_path / "store"
    await fill(path)
    [file] = (path / "versions/1/data/shard").glob(damaged)
    file.write_bytes(content)

    with pytest.raises(StoreDamaged) as caught:
        async with opened(path):
            pass

    assert str(path) in caught.value.message
    shutil.rmtree(path)
    await fill(path)


async def test_a_store_whose_making_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    half_made = tmp_path / "store/versions/1/data.unfinished/shard"
    half_made.mkdir(parents=True)
    (half_made / "edge_config.json").write_text("{")

    await fill(tmp_path / "store")

    assert not half_made.exists()


async def test_a_disk_that_is_nearly_full_takes_nothing_more_and_still_answers(tmp_path: Path) -> None:
    path = tmp_path / "store"
    await fill(path)
    more_than_there_is = (shutil.disk_usage(tmp_path).free >> 20) + 1_000_000

    async with opened(path, store_min_free_mib=more_than_there_is) as store:
        with pytest.raises(StoreFull, match="BACKDROP_RANKER_STORE_MIN_FREE_MIB"):
            await store.upsert([indexed(background("shop/more"), VECTORS, SPACE)])
        assert await store.count("shop") == 5
        assert await store.delete([background("shop/b0").name])


async def test_the_engine_is_started_again_when_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    await fill(path)
    async with opened(path) as store:
        [engine] = [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())]
        engine.kill()
        engine.wait(30)
        async with asyncio.timeout(30):
            while True:
                try:
                    assert await store.count("shop") == 5
                    break
                except StoreRestarting:
                    await asyncio.sleep(0.05)
