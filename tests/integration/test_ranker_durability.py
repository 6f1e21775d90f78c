"""What an upsert has acknowledged survives the death of ranker and engine, and nothing half-written shows."""

import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

from services.ranker.config import RankerConfig
from services.ranker.edge_store import open_edge_store
from services.ranker.vector_store import Found, Search
from tests.unit.services.ranker.fakes import NOW, WordCounter, space_of

KILLS = 20
WRITER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path

    from services.ranker.config import RankerConfig
    from services.ranker.edge_store import open_edge_store
    from tests.unit.services.ranker.fakes import WordCounter, background, indexed, space_of

    async def write_one(store, number):
        item = background(f"shop/b{number}", f"caption {number}")
        await store.upsert([indexed(item, WordCounter().encode(item.captions), space_of())])
        print(number, flush=True)

    async def write():
        async with open_edge_store(RankerConfig(store_path=Path(sys.argv[1])), space_of()) as store:
            number = int(sys.argv[2])
            while True:
                # Several at once, as imports come.
                await asyncio.gather(*(write_one(store, each) for each in range(number, number + 8)))
                number += 8

    if __name__ == "__main__":
        asyncio.run(write())
    """
)


def engine_of(writer: int) -> psutil.Process:
    children = psutil.Process(writer).children()
    return next(each for each in children if "spawn_main" in " ".join(each.cmdline()))


def written_until_killed(script: Path, store: Path, first: int, count: int, kill_engine: bool) -> Iterator[int]:
    """Numbers that a writer has acknowledged when it, or its engine, gets SIGKILL after `count` of them."""
    command = [sys.executable, str(script), str(store), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(count):
            yield int(writer.stdout.readline())
        engine = engine_of(writer.pid)
        if kill_engine:
            engine.send_signal(signal.SIGKILL)
        writer.send_signal(signal.SIGKILL)
        # What it had acknowledged in the meantime counts as well.
        yield from map(int, writer.stdout.read().splitlines())
        # Without its parent the engine ends by itself; it owns the folder until then.
        with suppress(psutil.NoSuchProcess):
            engine.wait(30)


async def test_nothing_acknowledged_is_lost_over_twenty_kills(tmp_path: Path) -> None:
    script, path = tmp_path / "writer.py", tmp_path / "store"
    script.write_text(WRITER)
    chooser = random.Random(0)
    acknowledged: set[int] = set()
    for kill in range(KILLS):
        first = max(acknowledged, default=-1) + 100
        numbers = written_until_killed(script, path, first, chooser.randint(1, 60), kill_engine=kill % 2 == 0)
        acknowledged |= set(numbers)

    stored = await everything(path)

    assert {f"b{number}" for number in acknowledged} <= set(stored)
    assert all(each.background.captions == (f"caption {name[1:]}",) for name, each in stored.items())
    vectors = WordCounter().encode([f"caption {name[1:]}" for name in stored])
    text = slice(0, vectors.shape[1])
    np.testing.assert_allclose([each.vector[text] for each in stored.values()], vectors, atol=1e-3)


async def everything(path: Path) -> dict[str, Found]:
    """All that a search finds, and no more than what can be listed."""
    async with open_edge_store(RankerConfig(store_path=path), space_of()) as store:
        search = Search("shop", np.ones(space_of().layout.dimension, dtype=np.float32), NOW, limit=100_000)
        found = {each.background.name.background: each for each in await store.search(search)}
        listed = {each.name.background for each in (await store.page("shop", 100_000)).backgrounds}
        assert set(found) == listed
        assert await store.count("shop") == len(listed)
    return found
