"""What only the embedded store promises; what every store does is in the contract suite."""

import shutil
from pathlib import Path

import pytest

from services.ranker.edge_store import open_edge_store
from services.ranker.ranking import EmbeddedBackground
from services.ranker.vector_store import EmbeddingModelChanged, StoreDamaged, StoreInUse, VectorSpace
from tests.unit.services.ranker.fakes import WordCounter, background

ENCODER = WordCounter()


async def fill(path: Path, count: int = 5) -> None:
    vectors = ENCODER.encode(["a wooden table"])
    async with open_edge_store(path, ENCODER.space) as store:
        await store.upsert([EmbeddedBackground(background(f"shop/b{number}"), vectors) for number in range(count)])


async def test_a_store_that_was_closed_opens_with_all_it_held(tmp_path: Path) -> None:
    await fill(tmp_path / "store")

    async with open_edge_store(tmp_path / "store", ENCODER.space) as store:
        assert len((await store.page("shop", 10)).backgrounds) == 5


async def test_a_folder_in_use_is_refused_and_its_owner_goes_on(tmp_path: Path) -> None:
    async with open_edge_store(tmp_path / "store", ENCODER.space) as store:
        with pytest.raises(StoreInUse):
            async with open_edge_store(tmp_path / "store", ENCODER.space):
                pass
        assert not await store.contains("shop")


async def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    await fill(tmp_path / "store")

    with pytest.raises(EmbeddingModelChanged, match="word-counter"):
        async with open_edge_store(tmp_path / "store", VectorSpace("another", 256)):
            pass


@pytest.mark.parametrize(
    "damaged", ["edge_config.json", "wal/open-1", "segments/*/segment.json", "segments/*/payload_storage/page_0.dat"]
)
@pytest.mark.parametrize("content", [b"", b"\xff\x00garbage" * 100], ids=["empty", "garbage"])
async def test_a_damaged_folder_is_refused_and_can_be_replaced(tmp_path: Path, damaged: str, content: bytes) -> None:
    path = tmp_path / "store"
    await fill(path)
    [file] = (path / "data" / "shard").glob(damaged)
    file.write_bytes(content)

    with pytest.raises(StoreDamaged) as caught:
        async with open_edge_store(path, ENCODER.space):
            pass

    assert str(path) in caught.value.message
    shutil.rmtree(path)
    await fill(path)


async def test_a_store_whose_making_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    half_made = tmp_path / "store" / "data.unfinished" / "shard"
    half_made.mkdir(parents=True)
    (half_made / "edge_config.json").write_text("{")

    await fill(tmp_path / "store")

    assert not half_made.exists()
