"""The embedded vector store: the engine of `edge_engine`, in a process of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import UUID

from chassis.child_process import ChildProcess
from services.ranker.background import Background, BackgroundName
from services.ranker.config import RankerConfig
from services.ranker.edge_engine import open_edge_engine
from services.ranker.store_folder import damaged
from services.ranker.vector_store import (
    Found,
    IndexedBackground,
    Page,
    Search,
    StoreDamaged,
    StoreFailed,
    StoreRestarting,
    VectorSpace,
)

RETRY_AFTER_S = 1.0


@asynccontextmanager
async def open_edge_store(
    config: RankerConfig, space: VectorSpace, status_changed: asyncio.Event | None = None
) -> AsyncIterator["EdgeStore"]:
    """Opens the store in a folder, or makes it.

    Args:
        config: names the folder.
        space: of the vectors to keep.
        status_changed: set when the engine's process ends and when it is ready again.

    Raises:
        StoreInUse: another store owns the folder.
        StoreNotWritable: it cannot be made or written.
        StoreDamaged: it cannot be read.
        EmbeddingModelChanged: it holds vectors of other models.
    """
    process = ChildProcess(
        partial(open_edge_engine, space=space),
        config,
        service="ranker",
        name="backdrop engine",
        restarting=_restarting,
        not_started=partial(_not_started, config.store_path),
        failed=StoreFailed,
        status_changed=status_changed,
        committed=frozenset({"upsert", "delete"}),
    )
    async with process:
        yield EdgeStore(process)


class EdgeStore:
    """A `VectorStore` in a shard of Qdrant Edge.

    Writes that arrive together are flushed to the disk together, and acknowledged after that.
    """

    def __init__(self, process: ChildProcess) -> None:
        self._process = process

    async def upsert(self, backgrounds: Sequence[IndexedBackground]) -> list[bool]:
        """Stores the backgrounds in one operation."""
        created: list[bool] = await self._process.call("upsert", backgrounds)
        return created

    async def get(self, name: BackgroundName) -> Background | None:
        """The background of that name, if there is one."""
        background: Background | None = await self._process.call("get", name)
        return background

    async def delete(self, name: BackgroundName) -> bool:
        """Forgets a background; says whether there was one."""
        deleted: bool = await self._process.call("delete", name)
        return deleted

    async def page(self, library: str, limit: int, first_point: UUID | None = None) -> Page:
        """One page of a library, in the order of the points."""
        page: Page = await self._process.call("page", library, limit, first_point)
        return page

    async def count(self, library: str) -> int:
        """How many backgrounds the library holds."""
        count: int = await self._process.call("count", library)
        return count

    async def attribute_keys(self, library: str) -> frozenset[str]:
        """The keys of all attributes that backgrounds of the library have."""
        keys: frozenset[str] = await self._process.call("attribute_keys", library)
        return keys

    async def search(self, search: Search) -> list[Found]:
        """The best of the library, by exact comparison with all that fulfil the conditions."""
        found: list[Found] = await self._process.call("search", search)
        return found

    async def check(self) -> None:
        """Raises while the engine's process is being started."""
        await self._process.check()


def _restarting() -> StoreRestarting:
    return StoreRestarting("The vector engine is being restarted; try again shortly.", retry_after_s=RETRY_AFTER_S)


def _not_started(path: Path, how: str) -> StoreDamaged:
    error = damaged(path)
    error.message += f" (The vector engine's process ended while it opened the store, {how}.)"
    return error
