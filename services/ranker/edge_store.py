"""The embedded vector store: Qdrant Edge, Qdrant's own engine in this process, in one folder.

Searches are exact: nothing is indexed but the libraries and the tags. For libraries of tens of thousands that costs
milliseconds, while `optimize()`, which would build an index, stops the whole process for as long as it runs.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import numpy as np
import qdrant_edge as edge
import structlog

from services.ranker import payload
from services.ranker.background import Background, BackgroundName, Filter
from services.ranker.ranking import EmbeddedBackground, Vectors
from services.ranker.store_folder import damaged, make_shard, owned_folder, stored_space
from services.ranker.vector_store import Page, StoreFailed, VectorSpace

log = structlog.get_logger(__name__)

FLUSH_INTERVAL_S = 1.0

Result = TypeVar("Result")


@asynccontextmanager
async def open_edge_store(path: Path, space: VectorSpace) -> AsyncIterator["EdgeStore"]:
    """Opens the store in a folder, or makes it; one process owns it until the end.

    Args:
        path: the folder.
        space: of the vectors to keep.

    Raises:
        StoreInUse: another store owns the folder.
        StoreNotWritable: it cannot be made or written.
        StoreDamaged: it cannot be read.
        EmbeddingModelChanged: it holds vectors of another model.
    """
    with owned_folder(path):
        make_shard(path, space, lambda folder: _create_shard(folder, space))
        space.require(stored_space(path), f"The store in {path}", "BACKDROP_RANKER_STORE_PATH")
        shard = _load_shard(path, space)
        try:
            async with _opened(EdgeStore(shard)) as store:
                yield store
        finally:
            shard.close()


@asynccontextmanager
async def _opened(store: "EdgeStore") -> AsyncIterator["EdgeStore"]:
    flushing = asyncio.create_task(store.flush_regularly())
    try:
        yield store
    finally:
        flushing.cancel()
        with suppress(asyncio.CancelledError):
            await flushing
        await store.close()


class EdgeStore:
    """A `VectorStore` in a shard of Qdrant Edge.

    The engine holds the GIL, so several threads would gain nothing; one thread also makes each method atomic. What a
    write returns from lies in the write-ahead log and survives the death of the process; a power failure may take the
    last second, which is not yet flushed to the disk.
    """

    def __init__(self, shard: edge.EdgeShard) -> None:
        self._shard = shard
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="edge")
        self._unflushed = asyncio.Event()

    async def upsert(self, backgrounds: Sequence[EmbeddedBackground]) -> list[bool]:
        """Stores the backgrounds in one operation."""
        points = [_to_point(each) for each in backgrounds]

        def write() -> list[bool]:
            stored = {record.id for record in self._retrieve([point.id for point in points])}
            self._shard.update(edge.UpdateOperation.upsert_points(points))
            return [point.id not in stored for point in points]

        created = await self._run(write)
        self._unflushed.set()
        return created

    async def get(self, name: BackgroundName) -> Background | None:
        """The background of that name, if there is one."""
        point = payload.point_id(name)
        records = await self._run(lambda: self._retrieve([point], with_payload=True))
        return _to_background(records[0]) if records else None

    async def delete(self, name: BackgroundName) -> bool:
        """Forgets a background; says whether there was one."""
        point = payload.point_id(name)

        def write() -> bool:
            found = bool(self._retrieve([point]))
            if found:
                self._shard.update(edge.UpdateOperation.delete_points([point]))
            return found

        found = await self._run(write)
        self._unflushed.set()
        return found

    async def page(self, library: str, limit: int, first_point: UUID | None = None) -> Page:
        """One page of a library, in the order of the points."""
        request = edge.ScrollRequest(
            offset=first_point, limit=limit, filter=_conditions(library, ()), with_payload=True
        )
        records, next_point = await self._run(lambda: self._shard.scroll(request))
        return Page(tuple(_to_background(each) for each in records), None if next_point is None else _uuid(next_point))

    async def contains(self, library: str) -> bool:
        """Whether the library holds a background."""
        request = edge.ScrollRequest(limit=1, filter=_conditions(library, ()), with_payload=False)
        records, _ = await self._run(lambda: self._shard.scroll(request))
        return bool(records)

    async def search(
        self, library: str, query: Vectors, filters: Sequence[Filter], limit: int
    ) -> list[EmbeddedBackground]:
        """The best of the library, by exact comparison with all that pass the filters."""
        request = edge.QueryRequest(
            limit=limit,
            query=edge.Query.Nearest(query.tolist(), using=payload.VECTOR_NAME),
            filter=_conditions(library, filters),
            params=edge.SearchParams(exact=True),
            with_payload=True,
            with_vector=True,
        )
        points = await self._run(lambda: self._shard.query(request))
        return [EmbeddedBackground(_to_background(each), _to_vectors(each)) for each in points]

    async def check(self) -> None:
        """Raises when the engine does not answer."""
        await self._run(self._shard.info)

    async def flush_regularly(self) -> None:
        """Flushes what was written to the disk, at most once in `FLUSH_INTERVAL_S`; runs until it is cancelled."""
        while True:
            await self._unflushed.wait()
            await asyncio.sleep(FLUSH_INTERVAL_S)
            self._unflushed.clear()
            # The next write tries again, and a failure of the disk meets that write as well.
            with suppress(StoreFailed):
                await self._run(self._shard.flush)

    async def close(self) -> None:
        """Flushes and ends the thread."""
        with suppress(StoreFailed):
            await self._run(self._shard.flush)
        self._thread.shutdown()

    def _retrieve(self, points: Sequence[UUID | int | str], with_payload: bool = False) -> list[edge.Record]:
        return self._shard.retrieve(list(points), with_payload=with_payload, with_vector=False)

    async def _run(self, operation: Callable[[], Result]) -> Result:
        def guarded() -> Result:
            try:
                return operation()
            # The engine's panics are no Exceptions.
            except BaseException as error:
                log.exception("store_failed")
                raise StoreFailed from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)


def _create_shard(folder: Path, space: VectorSpace) -> None:
    max_sim = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
    captions = edge.EdgeVectorParams(space.dimension, edge.Distance.Dot, multivector_config=max_sim)
    shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors={payload.VECTOR_NAME: captions}))
    tenant = edge.KeywordIndexParams(is_tenant=True)
    shard.update(edge.UpdateOperation.create_field_index(payload.LIBRARY_FIELD, tenant))
    shard.update(edge.UpdateOperation.create_field_index(payload.TAGS_FIELD, edge.KeywordIndexParams()))
    shard.flush()
    shard.close()


def _load_shard(path: Path, space: VectorSpace) -> edge.EdgeShard:
    try:
        shard = edge.EdgeShard.load(str(path / "data" / "shard"))
        _read_through(shard, space)
        return shard
    except (KeyboardInterrupt, SystemExit):
        raise
    # The engine's panics are no Exceptions.
    except BaseException as error:
        raise damaged(path) from error


def _read_through(shard: edge.EdgeShard, space: VectorSpace) -> None:
    """Fails if the shard cannot be read: the engine opens some damaged files and fails when they are used."""
    request = edge.QueryRequest(
        limit=1,
        query=edge.Query.Nearest([[1.0] * space.dimension], using=payload.VECTOR_NAME),
        params=edge.SearchParams(exact=True),
        with_payload=True,
        with_vector=True,
    )
    found = [(_to_background(each), _to_vectors(each)) for each in shard.query(request)]
    if not found and shard.count(edge.CountRequest()):
        raise ValueError("there are points, but a search finds none")


def _conditions(library: str, filters: Sequence[Filter]) -> edge.Filter:
    tenant = edge.FieldCondition(payload.LIBRARY_FIELD, match=edge.MatchValue(library))
    return edge.Filter(
        must=[tenant, *map(_one_of, payload.wanted_tags(filters))],
        must_not=[*map(_one_of, payload.unwanted_tags(filters))],
    )


def _one_of(tags: Sequence[str]) -> edge.FieldCondition:
    return edge.FieldCondition(payload.TAGS_FIELD, match=edge.MatchAny(list(tags)))


def _to_point(embedded: EmbeddedBackground) -> edge.Point:
    background = embedded.background
    vectors: dict[str, edge.NamedVector] = {payload.VECTOR_NAME: embedded.vectors.tolist()}
    return edge.Point(payload.point_id(background.name), vectors, payload.to_payload(background))


def _to_background(point: edge.Record | edge.ScoredPoint) -> Background:
    return payload.from_payload(point.payload or {})


def _to_vectors(point: edge.ScoredPoint) -> Vectors:
    vectors = point.vector if isinstance(point.vector, dict) else {}
    return np.asarray(vectors[payload.VECTOR_NAME], dtype=np.float32)


def _uuid(point: UUID | int | str) -> UUID:
    return point if isinstance(point, UUID) else UUID(str(point))
