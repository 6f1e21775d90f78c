"""Snapshots of the store, made and restored while it is used, and what can go wrong with them."""

import asyncio
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from chassis.errors import BackdropError
from services.ranker import store_folder
from services.ranker.background import Background
from services.ranker.config import RankerConfig
from services.ranker.edge_store import EdgeStore, open_edge_folder
from services.ranker.index import Index, Version
from services.ranker.snapshots import Snapshots
from services.ranker.store_folder import use_version
from services.ranker.text_embedding import TextEmbedder
from services.ranker.vector_store import Search, VectorSpace
from tests.unit.services.ranker.fakes import NOW, WordCounter, background, indexed, space_of

SPACE = space_of()
CAPTIONS = WordCounter().encode(["a wooden table"])


@pytest.fixture
def embedder() -> Iterator[TextEmbedder]:
    with TextEmbedder(WordCounter(), 100) as each:
        yield each


@asynccontextmanager
async def opened(
    path: Path, embedder: TextEmbedder, space: VectorSpace = SPACE, **settings: object
) -> AsyncIterator[tuple[Index[EdgeStore], Snapshots]]:
    config = RankerConfig(store_path=path, snapshots_path=path.parent / "snapshots", **settings)
    with open_edge_folder(config) as folder:
        version = await Version.open(embedder, space, folder.open_space(space))
        await folder.use(version.store)
        await folder.clean()
        async with aclosing(Index(version)) as index, aclosing(Snapshots(index, folder, config)) as snapshots:
            yield index, snapshots


async def write(index: Index[EdgeStore], *ids: str) -> None:
    items: list[Background] = [background(f"shop/{each}") for each in ids]
    async with index.writing([each.name for each in items]) as version:
        await version.store.upsert([indexed(each, CAPTIONS, version.space) for each in items])


async def delete(index: Index[EdgeStore], *ids: str) -> None:
    names = [background(f"shop/{each}").name for each in ids]
    async with index.writing(names) as version:
        await version.store.delete(names)


async def held(index: Index[EdgeStore]) -> set[str]:
    async with index.reading() as version:
        vector = indexed(background("shop/x"), CAPTIONS, version.space).vector
        found = await version.store.search(Search("shop", vector, NOW, limit=10_000))
    return {each.background.name.background for each in found}


async def reason(call: object) -> str:
    with pytest.raises(BackdropError) as caught:
        await call  # type: ignore[misc]
    return caught.value.reason


async def test_what_was_acknowledged_before_is_restored_and_what_is_written_meanwhile_stays(
    tmp_path: Path, embedder: TextEmbedder
) -> None:
    async with opened(tmp_path / "store", embedder) as (index, snapshots):
        acknowledged: list[str] = []
        stop = asyncio.Event()

        async def keep_writing() -> None:
            while not stop.is_set():
                await write(index, f"b{len(acknowledged)}")
                acknowledged.append(f"b{len(acknowledged)}")

        async def keep_searching() -> None:
            while not stop.is_set():
                assert "first" in await held(index)

        await write(index, "first", "gone")
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_writing())
            group.create_task(keep_searching())
            while not acknowledged:
                await asyncio.sleep(0.005)
            before = set(acknowledged)
            made = await snapshots.create()
            await delete(index, "gone", *before)
            etag = index.etag("another library")
            restoring = asyncio.create_task(snapshots.restore(made.name))
            while not (tmp_path / "store/versions/2").exists():
                await asyncio.sleep(0.005)
            during = len(acknowledged)
            await restoring
            stop.set()

        assert index.etag("another library") != etag
        assert {"first", "gone"} | before | set(acknowledged[during:]) <= await held(index)
    # What is opened later is what was restored.
    async with opened(tmp_path / "store", embedder) as (index, _):
        assert {"first", "gone"} | before <= await held(index)


async def test_snapshots_are_listed_deleted_and_carried_to_another_store(
    tmp_path: Path, embedder: TextEmbedder
) -> None:
    async with opened(tmp_path / "a/store", embedder) as (index, snapshots):
        await write(index, "oak")
        first, second = await snapshots.create(), await snapshots.create()
        assert {each.name for each in await snapshots.all()} == {first.name, second.name}
        assert first.card is not None
        assert first.card.space == SPACE
        await snapshots.delete(first.name)
        assert [each.name for each in await snapshots.all()] == [second.name]
        assert await reason(snapshots.restore(first.name)) == "SNAPSHOT_NOT_FOUND"

    checked = tmp_path / "checked"
    with tarfile.open(tmp_path / "a/snapshots" / second.name) as tar:
        tar.extractall(checked, filter="data")
    assert subprocess.run(["sha256sum", "--check", "--quiet", "sha256sums"], cwd=checked).returncode == 0

    shutil.copytree(tmp_path / "a/snapshots", tmp_path / "b/snapshots")
    async with opened(tmp_path / "b/store", embedder) as (index, snapshots):
        await snapshots.restore(second.name)
        assert await held(index) == {"oak"}


async def test_a_ranker_that_ends_just_when_a_snapshot_takes_over_starts_with_it(
    tmp_path: Path, embedder: TextEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_it, go_on = threading.Event(), threading.Event()

    def use_slowly(path: Path, number: int) -> None:
        at_it.set()
        assert go_on.wait(60)
        use_version(path, number)

    async with opened(tmp_path / "store", embedder) as (index, snapshots):
        await write(index, "oak")
        made = await snapshots.create()
        await delete(index, "oak")
        monkeypatch.setattr(store_folder, "use_version", use_slowly)
        restoring = asyncio.create_task(snapshots.restore(made.name))
        assert await asyncio.to_thread(at_it.wait, 60)
        ending = asyncio.create_task(snapshots.aclose())
        # As slow as a disk that is busy: whoever does not wait for it has cleaned up by then.
        await asyncio.wait([ending], timeout=0.5)
        go_on.set()
        await ending
        with pytest.raises(asyncio.CancelledError):
            await restoring
    monkeypatch.undo()

    async with opened(tmp_path / "store", embedder) as (index, _):
        assert await held(index) == {"oak"}


async def test_a_snapshot_that_is_deleted_meanwhile_is_not_listed(tmp_path: Path, embedder: TextEmbedder) -> None:
    async with opened(tmp_path / "store", embedder) as (_, snapshots):
        made = await snapshots.create()
        # As the folder's list has it when the file is gone.
        (tmp_path / "snapshots/gone.tar").symlink_to("nothing")

        assert [each.name for each in await snapshots.all()] == [made.name]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no snapshot"])
async def test_a_damaged_snapshot_is_refused_and_the_store_stays(
    tmp_path: Path, embedder: TextEmbedder, damage: str
) -> None:
    async with opened(tmp_path / "store", embedder) as (index, snapshots):
        await write(index, "oak")
        made = await snapshots.create()
        await delete(index, "oak")
        await write(index, "elm")
        file = tmp_path / "snapshots" / made.name
        content = bytearray(file.read_bytes())
        content[(at := content.index(b"a wooden table"))] ^= 1
        file.write_bytes({"truncated": content[:at], "flipped": content, "no snapshot": b"text"}[damage])

        assert await reason(snapshots.restore(made.name)) == "SNAPSHOT_DAMAGED"

        assert await held(index) == {"elm"}
        assert [each.name for each in (tmp_path / "store/versions").iterdir()] == ["1"]
        [listed] = await snapshots.all()
        assert (listed.card is None) == (damage == "no snapshot")


async def test_a_snapshot_of_other_models_is_refused(tmp_path: Path, embedder: TextEmbedder) -> None:
    async with opened(tmp_path / "store", embedder) as (index, snapshots):
        made = await snapshots.create()
    async with opened(tmp_path / "other", embedder, replace(SPACE, model="another")) as (index, snapshots):
        assert await reason(snapshots.restore(made.name)) == "EMBEDDING_MODEL_CHANGED"
        await write(index, "oak")


async def test_without_room_nothing_is_made_and_nothing_restored(tmp_path: Path, embedder: TextEmbedder) -> None:
    async with opened(tmp_path / "store", embedder) as (_, snapshots):
        made = await snapshots.create()
    more_than_there_is = (shutil.disk_usage(tmp_path).free >> 20) + 1_000_000
    async with opened(tmp_path / "store", embedder, store_min_free_mib=more_than_there_is) as (index, snapshots):
        assert await reason(snapshots.create()) == "STORE_FULL"
        assert await reason(snapshots.restore(made.name)) == "STORE_FULL"
        assert [each.name for each in (tmp_path / "snapshots").iterdir()] == [made.name]
        assert await held(index) == set()


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from services.ranker import index, snapshots
from services.ranker.text_embedding import TextEmbedder
from tests.unit.services.ranker.fakes import WordCounter
from tests.unit.services.ranker.test_snapshots import delete, opened, write

async def main():
    path, doing = Path(sys.argv[1]), sys.argv[2]
    with TextEmbedder(WordCounter(), 100) as embedder:
        async with opened(path, embedder) as (index, snapshots):
            await write(index, "oak")
            made = await snapshots.create()
            await delete(index, "oak")
            await write(index, "elm")
            call = snapshots.create() if doing == "create" else snapshots.restore(made.name)
            working = asyncio.create_task(call)
            half = "snapshots/*.unfinished" if doing == "create" else "store/versions/2/*"
            while not working.done():
                if list(path.parent.glob(half)):
                    print(made.name, flush=True)
                    os.kill(os.getpid(), signal.SIGKILL)
                await asyncio.sleep(0.001)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize("doing", ["create", "restore"])
async def test_a_ranker_that_is_killed_on_the_way_leaves_the_store_and_no_half_snapshot(
    tmp_path: Path, embedder: TextEmbedder, doing: str
) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    killed = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "store"), doing],
        env={"PYTHONPATH": ".:gen"},
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -9, killed.stderr

    async with opened(tmp_path / "store", embedder) as (index, snapshots):
        assert await held(index) == {"elm"}
        assert [each.name for each in await snapshots.all()] == [killed.stdout.split()[-1]]
        await snapshots.create()
        await snapshots.restore(killed.stdout.split()[-1])
        assert await held(index) == {"oak"}
        assert not list((tmp_path / "snapshots").glob("*.unfinished"))
