"""The vector store on a Qdrant server or cluster."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from uuid import UUID

import httpx
import numpy as np
import structlog
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from chassis.errors import BackdropError
from services.ranker import payload
from services.ranker.background import Background, BackgroundName, Filter
from services.ranker.ranking import EmbeddedBackground, Vectors
from services.ranker.vector_store import (
    Page,
    StoreDamaged,
    StoreFailed,
    StoreRefused,
    StoreUnreachable,
    VectorSpace,
)

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 1.0


@asynccontextmanager
async def connect_server_store(
    url: str,
    api_key: str,
    collection: str,
    space: VectorSpace,
    *,
    timeout_s: int = 5,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator["ServerStore"]:
    """Connects to a Qdrant server and makes the collection when it is missing.

    Args:
        url: the server's REST address.
        api_key: empty when it asks for none.
        collection: its name.
        space: of the vectors to keep.
        timeout_s: that one request may take.
        transport: what carries the requests, instead of the network.

    Raises:
        StoreUnreachable: the server does not answer.
        StoreRefused: it does not accept the key.
        StoreDamaged: the collection was not made by a ranker.
        EmbeddingModelChanged: it holds vectors of another model.
    """
    client = AsyncQdrantClient(
        url=url, api_key=api_key or None, timeout=timeout_s, check_compatibility=False, transport=transport
    )
    try:
        store = ServerStore(client, collection)
        await store.prepare(space)
        yield store
    finally:
        await client.close()


class ServerStore:
    """A `VectorStore` in a collection of a Qdrant server.

    Writes return when the server has applied them. Once a library is large enough the server searches it by its HNSW
    graph, so that a background at the edge of the `limit` best may be missed; the scores of those found are exact.
    """

    def __init__(self, client: AsyncQdrantClient, collection: str) -> None:
        self._client = client
        self._collection = collection

    async def prepare(self, space: VectorSpace) -> None:
        """Makes the collection if it is missing, and looks whether it holds vectors of `space`."""
        with _wrapped_errors():
            if not await self._client.collection_exists(self._collection):
                await self._create(space)
            # Adding an index that is there changes nothing, so a ranker that died between the two is made good.
            await self._index()
            config = (await self._client.get_collection(self._collection)).config
        try:
            stored = VectorSpace(**(config.metadata or {}))
        except TypeError as error:
            raise StoreDamaged(
                f"Collection {self._collection} was not made by a ranker, or its server is older than Qdrant 1.16."
                " Name another one with BACKDROP_RANKER_QDRANT_COLLECTION."
            ) from error
        space.require(stored, f"Collection {self._collection}", "BACKDROP_RANKER_QDRANT_COLLECTION")

    async def upsert(self, backgrounds: Sequence[EmbeddedBackground]) -> list[bool]:
        """Stores the backgrounds in one operation."""
        points = [_to_point(each) for each in backgrounds]
        ids = [point.id for point in points]
        with _wrapped_errors():
            stored = {str(each.id) for each in await self._client.retrieve(self._collection, ids, with_payload=False)}
            await self._client.upsert(self._collection, points, wait=True)
        return [point not in stored for point in ids]

    async def get(self, name: BackgroundName) -> Background | None:
        """The background of that name, if there is one."""
        with _wrapped_errors():
            records = await self._client.retrieve(self._collection, [str(payload.point_id(name))])
        return payload.from_payload(records[0].payload or {}) if records else None

    async def delete(self, name: BackgroundName) -> bool:
        """Forgets a background; says whether there was one."""
        point = str(payload.point_id(name))
        with _wrapped_errors():
            found = bool(await self._client.retrieve(self._collection, [point], with_payload=False))
            if found:
                await self._client.delete(self._collection, models.PointIdsList(points=[point]), wait=True)
        return found

    async def page(self, library: str, limit: int, first_point: UUID | None = None) -> Page:
        """One page of a library, in the order of the points."""
        with _wrapped_errors():
            records, next_point = await self._client.scroll(
                self._collection,
                scroll_filter=_conditions(library, ()),
                limit=limit,
                offset=None if first_point is None else str(first_point),
            )
        backgrounds = tuple(payload.from_payload(each.payload or {}) for each in records)
        return Page(backgrounds, None if next_point is None else UUID(str(next_point)))

    async def contains(self, library: str) -> bool:
        """Whether the library holds a background."""
        with _wrapped_errors():
            records, _ = await self._client.scroll(
                self._collection, scroll_filter=_conditions(library, ()), limit=1, with_payload=False
            )
        return bool(records)

    async def search(
        self, library: str, query: Vectors, filters: Sequence[Filter], limit: int
    ) -> list[EmbeddedBackground]:
        """The best of the library."""
        with _wrapped_errors():
            response = await self._client.query_points(
                self._collection,
                query=query.tolist(),
                using=payload.VECTOR_NAME,
                query_filter=_conditions(library, filters),
                limit=limit,
                with_vectors=[payload.VECTOR_NAME],
            )
        return [_from_point(each) for each in response.points]

    async def check(self) -> None:
        """Raises when the server does not answer or has lost the collection."""
        with _wrapped_errors():
            if await self._client.collection_exists(self._collection):
                return
        raise StoreUnreachable(f"The Qdrant server lost collection {self._collection}: restart the ranker.")

    async def _create(self, space: VectorSpace) -> None:
        captions = models.VectorParams(
            size=space.dimension,
            distance=models.Distance.DOT,
            multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        )
        try:
            await self._client.create_collection(
                self._collection,
                vectors_config={payload.VECTOR_NAME: captions},
                # A graph for each library and none over all of them, since no search reads two.
                hnsw_config=models.HnswConfigDiff(m=0, payload_m=16),
                metadata=asdict(space),
            )
        except UnexpectedResponse as error:
            # Another ranker that starts at the same time was faster.
            if error.status_code != httpx.codes.CONFLICT:
                raise

    async def _index(self) -> None:
        tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
        await self._client.create_payload_index(self._collection, payload.LIBRARY_FIELD, tenant)
        await self._client.create_payload_index(self._collection, payload.TAGS_FIELD, models.PayloadSchemaType.KEYWORD)


@contextmanager
def _wrapped_errors() -> Iterator[None]:
    """Turns the client's errors into the store's."""
    try:
        yield
    except ResourceExhaustedResponse as error:
        raise _unreachable(error.retry_after_s) from error
    except ApiException as error:
        raise _to_store_error(error) from error


def _to_store_error(error: ApiException) -> BackdropError:
    if isinstance(error, ResponseHandlingException) and isinstance(error.source, httpx.TransportError):
        return _unreachable()
    status = (error.status_code or 0) if isinstance(error, UnexpectedResponse) else 0
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return StoreRefused("The Qdrant server does not accept the key in BACKDROP_RANKER_QDRANT_API_KEY.")
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return _unreachable()
    log.error("store_failed", error=repr(getattr(error, "source", error)))
    return StoreFailed()


def _unreachable(retry_after_s: float = RETRY_AFTER_S) -> StoreUnreachable:
    return StoreUnreachable(
        "The Qdrant server at BACKDROP_RANKER_QDRANT_URL does not answer; try again.", retry_after_s=retry_after_s
    )


def _conditions(library: str, filters: Sequence[Filter]) -> models.Filter:
    tenant = models.FieldCondition(key=payload.LIBRARY_FIELD, match=models.MatchValue(value=library))
    return models.Filter(
        must=[tenant, *map(_one_of, payload.wanted_tags(filters))],
        must_not=[*map(_one_of, payload.unwanted_tags(filters))],
    )


def _one_of(tags: Sequence[str]) -> models.FieldCondition:
    return models.FieldCondition(key=payload.TAGS_FIELD, match=models.MatchAny(any=list(tags)))


def _to_point(embedded: EmbeddedBackground) -> models.PointStruct:
    background = embedded.background
    return models.PointStruct(
        id=str(payload.point_id(background.name)),
        vector={payload.VECTOR_NAME: embedded.vectors.tolist()},
        payload=payload.to_payload(background),
    )


def _from_point(point: models.ScoredPoint) -> EmbeddedBackground:
    vectors = point.vector if isinstance(point.vector, dict) else {}
    matrix = np.asarray(vectors[payload.VECTOR_NAME], dtype=np.float32)
    return EmbeddedBackground(payload.from_payload(point.payload or {}), matrix)
