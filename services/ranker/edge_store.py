"""The embedded vector store: the engine of `edge_engine`, in a process of its own for each version that is open."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from chassis.child_process import ChildProcess
from services.ranker import keywords, payload, store_folder
from services.ranker.background import Background, BackgroundName, Condition
from services.ranker.config import RankerConfig
from services.ranker.edge_engine import Points, open_compactor, open_edge_engine
from services.ranker.feedback import FeedbackPage, SimilarFeedback
from services.ranker.rules import RulesName
from services.ranker.signals import Vectors
from services.ranker.snapshot_archive import open_archivist
from services.ranker.vector_store import (
    Found,
    Indexed,
    IndexedPage,
    Name,
    Page,
    Search,
    StoreDamaged,
    StoreFailed,
    StoreNotWritable,
    StoreRestarting,
    VectorSpace,
)

RETRY_AFTER_S = 1.0


@contextmanager
def open_edge_folder(config: RankerConfig, status_changed: asyncio.Event | None = None) -> Iterator["EdgeFolder"]:
    """Owns the folder of an embedded store.

    Args:
        config: names the folder.
        status_changed: set when an engine's process ends and when it is ready again.

    Raises:
        StoreInUse: another ranker owns the folder.
        StoreNotWritable: it cannot be made or written.
        StoreDamaged: it cannot be read.
    """
    with store_folder.owned_folder(config.store_path):
        yield EdgeFolder(config, status_changed)


@asynccontextmanager
async def open_edge_store(config: RankerConfig, space: VectorSpace) -> AsyncIterator["EdgeStore"]:
    """Opens the version in use of the store in a folder, or makes it.

    Raises:
        StoreInUse: another ranker owns the folder.
        StoreNotWritable: it cannot be made or written.
        StoreDamaged: it cannot be read.
        EmbeddingModelChanged: it holds vectors of other models.
    """
    with open_edge_folder(config) as folder:
        stored = await folder.space_in_use() or space
        space.require(stored, folder.name, folder.setting)
        async with folder.open_space(space) as store:
            await folder.use(store)
            await folder.clean()
            yield store


class EdgeFolder:
    """The versions of an embedded store; one is in use.

    Attributes:
        name: of the store, in words.
        setting: the environment variable that names another one.
    """

    def __init__(self, config: RankerConfig, status_changed: asyncio.Event | None = None) -> None:
        self.name = f"The store in {config.store_path}"
        self.setting = "BACKDROP_RANKER_STORE_PATH"
        self._config = config
        self._path = config.store_path
        self._status_changed = status_changed

    async def space_in_use(self) -> VectorSpace | None:
        """The space of the version in use; None of a store that is to be made."""
        number = store_folder.current_version(self._path)
        return None if number is None else store_folder.stored_space(self._path, number)

    def open_space(self, space: VectorSpace) -> AbstractAsyncContextManager["EdgeStore"]:
        """Opens the version of that space: the one in use, if it is, the latest, or a new one.

        Raises:
            StoreNotWritable: it cannot be made or written.
            StoreDamaged: it cannot be read.
        """
        return self.open_version(self._version_of(space), space)

    def _version_of(self, space: VectorSpace) -> int:
        numbers = [number for number in self._whole() if store_folder.stored_space(self._path, number) == space]
        current = store_folder.current_version(self._path)
        if current in numbers:
            return current
        return max(numbers, default=self.new_version())

    def new_version(self) -> int:
        """A number that no version has."""
        return max(self._whole(), default=0) + 1

    @asynccontextmanager
    async def open_version(self, number: int, space: VectorSpace) -> AsyncIterator["EdgeStore"]:
        """Opens a version, or makes it.

        Raises:
            StoreNotWritable: it cannot be made or written.
            StoreDamaged: it cannot be read.
        """
        process = ChildProcess(
            partial(open_edge_engine, space=space, number=number),
            self._config,
            service="ranker",
            name="backdrop engine",
            restarting=_restarting,
            not_started=partial(_not_started, self._path),
            failed=StoreFailed,
            status_changed=self._status_changed,
            committed=frozenset({"upsert", "delete"}),
        )
        async with process:
            yield EdgeStore(process, number, *await process.call("sizes"))

    @asynccontextmanager
    async def open_compactor(self, source: int, target: int) -> AsyncIterator[ChildProcess]:
        """A process that copies and compacts a version: its methods are those of `edge_engine.Compactor`."""
        async with self._open_worker(partial(open_compactor, source=source, target=target), "compactor") as process:
            yield process

    @asynccontextmanager
    async def open_archivist(self) -> AsyncIterator[ChildProcess]:
        """A process that packs and unpacks snapshots: its methods are those of `snapshot_archive.Archivist`."""
        async with self._open_worker(open_archivist, "archivist") as process:
            yield process

    def _open_worker(self, open_hosted: Callable[[Any], AbstractContextManager[Any]], name: str) -> ChildProcess:
        """A process for one piece of work, which is not started again."""
        return ChildProcess(
            open_hosted,
            self._config,
            service="ranker",
            name=f"backdrop {name}",
            restarting=_restarting,
            not_started=partial(_not_started, self._path),
            failed=StoreFailed,
            restart=False,
        )

    async def use(self, store: "EdgeStore") -> None:
        """Makes a version the one in use; who is cancelled meanwhile goes on when it is, or cannot be.

        Raises:
            StoreNotWritable: the disk is full, or the folder cannot be written.
        """
        recorded = asyncio.ensure_future(asyncio.to_thread(store_folder.use_version, self._path, store.number))
        try:
            await asyncio.shield(recorded)
        except asyncio.CancelledError:
            # The thread goes on: what it names must not be taken for an old version and removed.
            await asyncio.wait([recorded])
            raise

    async def clean(self) -> None:
        """Removes all versions but the one in use, and the latest of another space to go back to."""
        await asyncio.to_thread(self._clean)

    def _clean(self) -> None:
        current = store_folder.current_version(self._path)
        if current is None:
            return
        space = store_folder.stored_space(self._path, current)
        others = [each for each in self._whole() if store_folder.stored_space(self._path, each) != space]
        store_folder.remove_versions(self._path, keep={current, *others[-1:]})

    def _whole(self) -> list[int]:
        return store_folder.versions(self._path)


class EdgeStore:
    """A `VectorStore` in a shard of Qdrant Edge.

    Writes that arrive together are flushed to the disk together, and acknowledged after that.

    Attributes:
        number: of the version.
        size: how many backgrounds there were when it was opened.
        unoptimized: about how many backgrounds were written since the version was compacted.
    """

    def __init__(self, process: ChildProcess, number: int, size: int, unoptimized: int) -> None:
        self.number = number
        self.size = size
        self.unoptimized = unoptimized
        self._process = process

    async def upsert(self, items: Sequence[Indexed]) -> list[bool]:
        """Stores the items in one operation."""
        created: list[bool] = await self._process.call("upsert", _to_points(items))
        self.unoptimized += len(items)
        return created

    async def get(self, name: BackgroundName) -> Background | None:
        """The background of that name, if there is one."""
        found = await self._process.call("get", str(payload.point_id(name)))
        return None if found is None else payload.from_payload(found)

    async def delete(self, names: Sequence[Name]) -> list[bool]:
        """Forgets what has those names, in one operation."""
        deleted: list[bool] = await self._process.call("delete", _ids(names))
        return deleted

    async def page(self, library: str, limit: int, first_point: UUID | None = None) -> Page:
        """One page of a library, in the order of the points."""
        payloads, next_point = await self._process.call("page", library, limit, first_point)
        return Page(tuple(map(payload.from_payload, payloads)), next_point)

    async def read(self, names: Sequence[Name]) -> list[Indexed]:
        """What there is of those names."""
        return _to_indexed(await self._process.call("read", _ids(names)))

    async def export_page(self, library: str | None, limit: int, first_point: UUID | None = None) -> IndexedPage:
        """One page of a library, or of all, with vectors, in the order of the points."""
        points, next_point = await self._process.call("export_page", library, limit, first_point)
        return IndexedPage(tuple(_to_indexed(points)), next_point)

    async def similar_feedback(self, library: str, product: Vectors, limit: int) -> list[SimilarFeedback]:
        """A library's feedback on the products that are most like one, by comparison with all."""
        found = await self._process.call("nearest", payload.feedback_tenant(library), product, limit)
        return [payload.to_similar(held, similarity) for held, similarity in found]

    async def feedback_page(self, library: str, limit: int, first_point: UUID | None = None) -> FeedbackPage:
        """One page of a library's feedback, in the order of the points."""
        tenant = payload.feedback_tenant(library)
        payloads, next_point = await self._process.call("page", tenant, limit, first_point)
        return FeedbackPage(tuple(map(payload.to_feedback, payloads)), next_point)

    async def rules(self, library: str) -> tuple[Condition, ...]:
        """The library's rules; none where none were set."""
        found = await self._process.call("get", str(payload.point_id(RulesName(library))))
        return () if found is None else payload.to_rules(found)

    async def count(self, library: str) -> int:
        """How many backgrounds the library holds."""
        count: int = await self._process.call("count", library)
        return count

    async def attribute_keys(self, library: str) -> frozenset[str]:
        """The keys of all attributes that backgrounds of the library have."""
        keys: frozenset[str] = await self._process.call("attribute_keys", library)
        return keys

    async def search(self, search: Search) -> list[Found]:
        """The best of the library, by comparison with all that fulfil the conditions."""
        points: Points = await self._process.call("search", search)
        return [
            Found(payload.from_payload(held), vector, score)
            for held, vector, score in zip(points.payloads, points.vectors, points.scores, strict=True)
        ]

    async def check(self) -> None:
        """Raises while the engine's process is being started."""
        await self._process.check()


def _to_points(items: Sequence[Indexed]) -> Points:
    return Points(
        ids=_ids([each.name for each in items]),
        payloads=[payload.to_payload(each) for each in items],
        vectors=np.stack([each.vector for each in items]),
        words=[keywords.document_vector(payload.words_of(each)) for each in items],
    )


def _ids(names: Sequence[Name]) -> list[str]:
    return [str(payload.point_id(name)) for name in names]


def _to_indexed(points: Points) -> list[Indexed]:
    return [payload.to_indexed(held, vector) for held, vector in zip(points.payloads, points.vectors, strict=True)]


def _restarting() -> StoreRestarting:
    return StoreRestarting("The vector engine is being restarted; try again shortly.", retry_after_s=RETRY_AFTER_S)


def _not_started(path: Path, how: str) -> StoreDamaged | StoreNotWritable:
    error = store_folder.unreadable(path)
    error.message += f" (The vector engine's process ended while it opened the store, {how}.)"
    return error
