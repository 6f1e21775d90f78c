"""Keeps the embedded store fast: lays it out anew, library by library, while it is in use."""

import asyncio
from contextlib import AsyncExitStack

import structlog

from services.ranker.edge_store import EdgeFolder, EdgeStore
from services.ranker.index import Index, Version, as_they_are

log = structlog.get_logger(__name__)

LEAST = 2_000
"""Backgrounds that are not worth a compaction."""
LOOK_EVERY_S = 2.0
AFTER_FAILURE_S = 60.0


async def keep_compact(index: Index[EdgeStore], folder: EdgeFolder) -> None:
    """Compacts the store, for ever, whenever enough was written and nothing more is being written.

    A long import is not waited for: it is compacted each time that the store has grown by half.
    """
    before = -1
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        store = index.version.store
        waiting = store.unoptimized
        if waiting >= LEAST and (waiting == before or waiting >= 10 * LEAST + store.size // 2):
            await _try_to_compact(index, folder)
        before = waiting


async def compact(index: Index[EdgeStore], folder: EdgeFolder) -> None:
    """Replaces the version in use by a compact copy of it, which another process makes."""
    async with index.replacing:
        await _replace(index, folder)
        await folder.clean()


async def _replace(index: Index[EdgeStore], folder: EdgeFolder) -> None:
    old = index.version
    number = folder.new_version()
    async with AsyncExitStack() as stack:
        compactor = await stack.enter_async_context(folder.open_compactor(old.store.number, number))

        async def copy() -> None:
            await compactor.call("copy")

        async def open_version() -> Version[EdgeStore]:
            await compactor.call("compact")
            # Its memory is needed for the new engine.
            await stack.aclose()
            return await Version.open(old.embedder, old.space, folder.open_version(number, old.space))

        await index.replace(copy, open_version, as_they_are, folder.use)


async def _try_to_compact(index: Index[EdgeStore], folder: EdgeFolder) -> None:
    started = asyncio.get_running_loop().time()
    waiting = index.version.store.unoptimized
    try:
        await compact(index, folder)
    # Searches are slower without, and nothing else; the next attempt may succeed.
    except Exception:
        log.exception("compaction_failed", backgrounds=waiting, next_attempt_s=AFTER_FAILURE_S)
        await asyncio.sleep(AFTER_FAILURE_S)
    else:
        seconds = round(asyncio.get_running_loop().time() - started, 1)
        log.info("compacted", backgrounds=waiting, seconds=seconds)
