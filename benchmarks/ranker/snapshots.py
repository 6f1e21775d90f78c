"""What a snapshot of the embedded store takes: `python -m benchmarks.ranker.snapshots 10000 100000`."""

import asyncio
import sys
import tempfile
import time
from contextlib import aclosing
from pathlib import Path

from benchmarks.ranker import store, synthetic
from gateway.cli.console import out
from services.ranker.compaction import compact
from services.ranker.config import RankerConfig
from services.ranker.edge_store import EdgeStore, open_edge_folder
from services.ranker.index import Index, Version
from services.ranker.snapshots import Snapshots
from services.ranker.vector_store import IndexedBackground

PAUSE_S = 0.005


async def measure(size: int, folder: Path) -> str:
    """Seconds to make and to restore a snapshot, and the longest that a write took meanwhile."""
    library = synthetic.make(size, 1)
    config = RankerConfig(store_path=folder)
    with open_edge_folder(config) as home:
        version = await Version.open(store.NO_MODEL, synthetic.SPACE, home.open_space(synthetic.SPACE))
        async with aclosing(Index(version)) as index, aclosing(Snapshots(index, home, config)) as snapshots:
            await home.use(version.store)
            for items in library.chunks():
                await index.version.store.upsert(items)
            await compact(index, home)
            [item, *_] = next(library.chunks())
            writes_s: list[float] = []
            writing = asyncio.create_task(_keep_writing(index, item, writes_s))
            started = time.perf_counter()
            made = await snapshots.create()
            created_s, waited_s = time.perf_counter() - started, max(writes_s, default=0)
            started = time.perf_counter()
            await snapshots.restore(made.name)
            restored_s = time.perf_counter() - started
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
    return (
        f"{size:,} backgrounds: made in {created_s:.1f} s, longest write meanwhile {waited_s:.2f} s,"
        f" restored in {restored_s:.1f} s, {made.size_bytes / 2**20:,.0f} MiB"
    )


async def _keep_writing(index: Index[EdgeStore], item: IndexedBackground, writes_s: list[float]) -> None:
    while True:
        started = time.perf_counter()
        async with index.writing([item.name]) as version:
            await version.store.upsert([item])
        writes_s.append(time.perf_counter() - started)
        await asyncio.sleep(PAUSE_S)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as temporary:
            out(asyncio.run(measure(int(argument), Path(temporary) / "store")))
