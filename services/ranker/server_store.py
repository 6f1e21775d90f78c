"""The vector store on a Qdrant server or cluster."""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import structlog
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from chassis.errors import BackdropError
from services.ranker import keywords, payload
from services.ranker.background import Background, BackgroundName, Condition, Filter
from services.ranker.feedback import FeedbackPage, SimilarFeedback
from services.ranker.rules import RulesName
from services.ranker.signals import Vectors
from services.ranker.vector_store import (
    POOL_SIZE,
    Found,
    Indexed,
    IndexedPage,
    Name,
    Page,
    Search,
    StoreDamaged,
    StoreFailed,
    StoreRefused,
    StoreUnreachable,
    VectorSpace,
    mmr_vector,
)

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 1.0
NOT_FOUND = -2.0
"""Less than any score."""
FACET_LIMIT = 1000


@asynccontextmanager
async def connect_server(
    url: str,
    api_key: str,
    collection: str,
    *,
    timeout_s: int = 5,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator["ServerCollections"]:
    """Connects to a Qdrant server.

    Args:
        url: the server's REST address.
        api_key: empty when it asks for none.
        collection: the alias of the collection in use.
        timeout_s: that one request may take.
        transport: what carries the requests, instead of the network.
    """
    client = AsyncQdrantClient(
        url=url, api_key=api_key or None, timeout=timeout_s, check_compatibility=False, transport=transport
    )
    try:
        yield ServerCollections(client, collection)
    finally:
        await client.close()


@asynccontextmanager
async def connect_server_store(
    url: str, api_key: str, collection: str, space: VectorSpace, **settings: Any
) -> AsyncIterator["ServerStore"]:
    """Connects to the collection in use of a Qdrant server, or makes it; `settings` are those of `connect_server`.

    Raises:
        StoreUnreachable: the server does not answer.
        StoreRefused: it does not accept the key.
        StoreDamaged: the collection was not made by a ranker.
        EmbeddingModelChanged: it holds vectors of another model.
    """
    async with connect_server(url, api_key, collection, **settings) as collections:
        stored = await collections.space_in_use() or space
        space.require(stored, collections.name, collections.setting)
        async with collections.open_space(space) as store:
            await collections.use(store)
            yield store


class ServerCollections:
    """The versions of an index on a Qdrant server: collections `name-1`, `name-2`; the alias `name` is the one in use.

    Attributes:
        name: of the index, in words.
        setting: the environment variable that names another one.
    """

    def __init__(self, client: AsyncQdrantClient, alias: str) -> None:
        self.name = f"Collection {alias}"
        self.setting = "BACKDROP_RANKER_QDRANT_COLLECTION"
        self._client = client
        self._alias = alias

    async def space_in_use(self) -> VectorSpace | None:
        """The space of the collection in use; None where there is none yet.

        Raises:
            StoreDamaged: a collection has the alias's name.
        """
        with _wrapped_errors():
            current = await self._current()
            if current is None and await self._client.collection_exists(self._alias):
                raise StoreDamaged(
                    f"{self._alias} is a collection, but the ranker keeps its own under an alias: name another with"
                    " BACKDROP_RANKER_QDRANT_COLLECTION."
                )
            return None if current is None else await self._space_of(current)

    @asynccontextmanager
    async def open_space(self, space: VectorSpace) -> AsyncIterator["ServerStore"]:
        """Opens the collection of that space: the one in use, if it is, the latest, or a new one."""
        with _wrapped_errors():
            collection = await self._collection_of(space)
            if not await self._client.collection_exists(collection):
                await self._create(collection, space)
            # Adding an index that is there changes nothing, so a ranker that died between the two is made good.
            await self._index(collection)
        yield ServerStore(self._client, collection)

    async def use(self, store: "ServerStore") -> None:
        """Makes a collection the one in use, at once for all who ask for the alias."""
        create = models.CreateAlias(collection_name=store.collection, alias_name=self._alias)
        actions: list[Any] = [models.CreateAliasOperation(create_alias=create)]
        with _wrapped_errors():
            if await self._current() is not None:
                delete = models.DeleteAlias(alias_name=self._alias)
                actions.insert(0, models.DeleteAliasOperation(delete_alias=delete))
            await self._client.update_collection_aliases(actions)

    async def clean(self) -> None:
        """Deletes all collections but the one in use, and the latest of another space to go back to."""
        with _wrapped_errors():
            current = await self._current()
            others = [each for each in await self._collections() if each != current]
            for collection in others[:-1]:
                await self._client.delete_collection(collection)

    async def _current(self) -> str | None:
        aliases = (await self._client.get_aliases()).aliases
        return next((each.collection_name for each in aliases if each.alias_name == self._alias), None)

    async def _collections(self) -> list[str]:
        """All versions, in their order."""
        names = [each.name for each in (await self._client.get_collections()).collections]
        numbers = sorted(int(match[1]) for name in names if (match := self._pattern.fullmatch(name)))
        return [f"{self._alias}-{number}" for number in numbers]

    async def _collection_of(self, space: VectorSpace) -> str:
        collections = await self._collections()
        of_space = [each for each in collections if await self._space_of(each) == space]
        current = await self._current()
        if current in of_space:
            return current
        numbers = [int(each.rpartition("-")[2]) for each in collections]
        return of_space[-1] if of_space else f"{self._alias}-{max(numbers, default=0) + 1}"

    async def _space_of(self, collection: str) -> VectorSpace:
        config = (await self._client.get_collection(collection)).config
        try:
            return VectorSpace(**(config.metadata or {}))
        except TypeError as error:
            raise StoreDamaged(
                f"Collection {collection} was not made by a ranker, or its server is older than Qdrant 1.16."
                " Name another one with BACKDROP_RANKER_QDRANT_COLLECTION."
            ) from error

    @property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(rf"{re.escape(self._alias)}-(\d+)")

    async def _create(self, collection: str, space: VectorSpace) -> None:
        dense = models.VectorParams(
            size=space.layout.dimension, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16
        )
        sparse = models.SparseVectorParams(modifier=models.Modifier.IDF)
        try:
            await self._client.create_collection(
                collection,
                vectors_config={payload.DENSE_NAME: dense},
                sparse_vectors_config={payload.SPARSE_NAME: sparse},
                # A graph for each library and none over all of them, since no search reads two.
                hnsw_config=models.HnswConfigDiff(m=0, payload_m=16),
                metadata=asdict(space),
            )
        except UnexpectedResponse as error:
            # Another ranker that starts at the same time was faster.
            if error.status_code != httpx.codes.CONFLICT:
                raise

    async def _index(self, collection: str) -> None:
        tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
        await self._client.create_payload_index(collection, payload.LIBRARY_FIELD, tenant)
        for field in (payload.TAGS_FIELD, payload.KEYS_FIELD):
            await self._client.create_payload_index(collection, field, models.PayloadSchemaType.KEYWORD)
        for field in (*payload.NUMBER_FIELDS, payload.EXPIRE_FIELD):
            await self._client.create_payload_index(collection, field, models.PayloadSchemaType.FLOAT)


class ServerStore:
    """A `VectorStore` in a collection of a Qdrant server.

    Writes return when the server has applied them. Once a library is large enough the server searches it by its HNSW
    graph, so that a background at the edge of the `limit` best may be missed; the scores of those found are exact.

    Attributes:
        collection: its name.
    """

    def __init__(self, client: AsyncQdrantClient, collection: str) -> None:
        self.collection = collection
        self._client = client

    async def upsert(self, items: Sequence[Indexed]) -> list[bool]:
        """Stores the items in one operation."""
        points = [_to_point(each) for each in items]
        ids = [point.id for point in points]
        with _wrapped_errors():
            stored = {str(each.id) for each in await self._client.retrieve(self.collection, ids, with_payload=False)}
            await self._client.upsert(self.collection, points, wait=True)
        return [point not in stored for point in ids]

    async def get(self, name: BackgroundName) -> Background | None:
        """The background of that name, if there is one."""
        with _wrapped_errors():
            records = await self._client.retrieve(self.collection, [str(payload.point_id(name))])
        return payload.from_payload(records[0].payload or {}) if records else None

    async def delete(self, names: Sequence[Name]) -> list[bool]:
        """Forgets what has those names, in one operation."""
        points = [str(payload.point_id(name)) for name in names]
        with _wrapped_errors():
            records = await self._client.retrieve(self.collection, points, with_payload=False)
            stored = [str(each.id) for each in records]
            if stored:
                await self._client.delete(self.collection, models.PointIdsList(points=[*stored]), wait=True)
        return [point in stored for point in points]

    async def page(self, library: str, limit: int, first_point: UUID | None = None) -> Page:
        """One page of a library, in the order of the points."""
        payloads, next_point = await self._payloads(library, limit, first_point)
        return Page(tuple(map(payload.from_payload, payloads)), next_point)

    async def _payloads(
        self, tenant: str, limit: int, first_point: UUID | None
    ) -> tuple[list[dict[str, Any]], UUID | None]:
        with _wrapped_errors():
            records, next_point = await self._client.scroll(
                self.collection,
                scroll_filter=_tenant(tenant),
                limit=limit,
                offset=None if first_point is None else str(first_point),
            )
        return [each.payload or {} for each in records], None if next_point is None else UUID(str(next_point))

    async def read(self, names: Sequence[Name]) -> list[Indexed]:
        """What there is of those names."""
        points = [str(payload.point_id(name)) for name in names]
        with _wrapped_errors():
            records = await self._client.retrieve(self.collection, points, with_vectors=[payload.DENSE_NAME])
        return [_to_indexed(each) for each in records]

    async def export_page(self, library: str | None, limit: int, first_point: UUID | None = None) -> IndexedPage:
        """One page of a library, or of all, with vectors, in the order of the points."""
        with _wrapped_errors():
            records, next_point = await self._client.scroll(
                self.collection,
                scroll_filter=None if library is None else _tenant(library),
                limit=limit,
                offset=None if first_point is None else str(first_point),
                with_vectors=[payload.DENSE_NAME],
            )
        return IndexedPage(
            tuple(_to_indexed(each) for each in records), None if next_point is None else UUID(str(next_point))
        )

    async def similar_feedback(self, library: str, product: Vectors, limit: int) -> list[SimilarFeedback]:
        """A library's feedback on the products that are most like one."""
        request = models.QueryRequest(
            query=product.tolist(),
            using=payload.DENSE_NAME,
            filter=_tenant(payload.feedback_tenant(library)),
            limit=limit,
            with_payload=True,
        )
        with _wrapped_errors():
            return [payload.to_similar(each.payload or {}, each.score) for each in await self._query(request)]

    async def feedback_page(self, library: str, limit: int, first_point: UUID | None = None) -> FeedbackPage:
        """One page of a library's feedback, in the order of the points."""
        payloads, next_point = await self._payloads(payload.feedback_tenant(library), limit, first_point)
        return FeedbackPage(tuple(map(payload.to_feedback, payloads)), next_point)

    async def rules(self, library: str) -> tuple[Condition, ...]:
        """The library's rules; none where none were set."""
        with _wrapped_errors():
            records = await self._client.retrieve(self.collection, [str(payload.point_id(RulesName(library)))])
        return payload.to_rules(records[0].payload or {}) if records else ()

    async def count(self, library: str) -> int:
        """How many backgrounds the library holds."""
        with _wrapped_errors():
            return (await self._client.count(self.collection, count_filter=_tenant(library), exact=True)).count

    async def attribute_keys(self, library: str) -> frozenset[str]:
        """The keys of all attributes that backgrounds of the library have."""
        with _wrapped_errors():
            facets = await self._client.facet(
                self.collection, payload.KEYS_FIELD, facet_filter=_tenant(library), limit=FACET_LIMIT, exact=True
            )
        return frozenset(str(hit.value) for hit in facets.hits)

    async def search(self, search: Search) -> list[Found]:
        """The best of the library."""
        with _wrapped_errors():
            if search.diversity:
                return await self._diverse(search)
            return [_to_found(each) for each in await self._query(_best(search, search.limit, with_vector=True))]

    async def _diverse(self, search: Search) -> list[Found]:
        """Maximal marginal relevance by the server, over the best by all signals."""
        pool = await self._query(_best(search, max(POOL_SIZE, search.limit), with_vector=False))
        if not pool:
            return []
        scores = {str(point.id): point.score for point in pool}
        dense = [payload.DENSE_NAME]
        [best] = await self._client.retrieve(self.collection, [pool[0].id], with_payload=False, with_vectors=dense)
        request = models.QueryRequest(
            limit=search.limit,
            query=models.NearestQuery(
                nearest=mmr_vector(search.vector, pool[0].score, _vector(best)).tolist(),
                mmr=models.Mmr(diversity=search.diversity, candidates_limit=len(scores)),
            ),
            using=payload.DENSE_NAME,
            filter=models.Filter(must=[models.HasIdCondition(has_id=list(scores))]),
            with_payload=True,
            with_vector=[payload.DENSE_NAME],
        )
        return [_to_found(each, scores[str(each.id)]) for each in await self._query(request)]

    async def _query(self, request: models.QueryRequest) -> list[models.ScoredPoint]:
        [response] = await self._client.query_batch_points(self.collection, [request])
        return response.points

    async def check(self) -> None:
        """Raises when the server does not answer or has lost the collection."""
        with _wrapped_errors():
            if await self._client.collection_exists(self.collection):
                return
        raise StoreUnreachable(f"The Qdrant server lost collection {self.collection}: restart the ranker.")


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


def _best(search: Search, limit: int, with_vector: bool) -> models.QueryRequest:
    """The query for the backgrounds with the highest scores."""
    conditions = _conditions(search)
    nearest = search.vector.tolist()
    vectors: list[str] | bool = [payload.DENSE_NAME] if with_vector else False
    words = keywords.query_vector(search.words) if search.words_weight else None
    if words is None and not search.nudges:
        return models.QueryRequest(
            query=nearest,
            using=payload.DENSE_NAME,
            filter=conditions,
            limit=limit,
            with_payload=with_vector,
            with_vector=vectors,
        )
    pool = max(POOL_SIZE, limit)
    dense = [models.Prefetch(query=nearest, using=payload.DENSE_NAME, filter=conditions, limit=pool)]
    sparse = []
    if words is not None:
        query = models.SparseVector(indices=words.indices, values=words.values)
        sparse = [models.Prefetch(query=query, using=payload.SPARSE_NAME, filter=conditions, limit=pool)]
        # Those that the words alone nominate get their score by the other signals as well.
        dense.append(models.Prefetch(query=nearest, using=payload.DENSE_NAME, prefetch=sparse, limit=pool))
    if search.nudges:
        nudged = models.HasIdCondition(
            has_id=[str(each) for points in payload.points_by_nudge(search).values() for each in points]
        )
        dense.append(
            models.Prefetch(
                query=nearest,
                using=payload.DENSE_NAME,
                filter=models.Filter(must=[nudged, conditions]),
                limit=len(search.nudges),
            )
        )
    return models.QueryRequest(
        prefetch=[*dense, *sparse],
        query=_sum_of_all(search, len(dense), bool(sparse)),
        limit=limit,
        with_payload=with_vector,
        with_vector=vectors,
    )


def _sum_of_all(search: Search, dense: int, by_words: bool) -> models.FormulaQuery:
    """The score by the dense vector, plus the words' BM25 score, bent to 0 to 1, times its weight, plus nudges."""
    variables = [f"$score[{number}]" for number in range(dense + by_words)]
    # A background that several prefetches found has its score in each of them.
    terms: list[models.Expression] = [models.MaxExpression(max=[*variables[:dense]])]
    if by_words:
        half = models.SumExpression(sum=[variables[-1], keywords.HALF_SIMILARITY])
        bent = models.DivExpression(div=models.DivParams(left=variables[-1], right=half))
        terms.append(models.MultExpression(mult=[search.words_weight, bent]))
    for nudge, points in payload.points_by_nudge(search).items():
        is_nudged = models.HasIdCondition(has_id=[str(each) for each in points])
        terms.append(models.MultExpression(mult=[nudge, is_nudged]))
    defaults = dict.fromkeys(variables[:dense], NOT_FOUND) | dict.fromkeys(variables[dense:], 0.0)
    return models.FormulaQuery(formula=models.SumExpression(sum=terms), defaults=defaults)


def _conditions(search: Search) -> models.Filter:
    expired = models.FieldCondition(key=payload.EXPIRE_FIELD, range=models.Range(lte=search.now.timestamp()))
    wanted = [_condition(each) for each in search.conditions if not each.exclude]
    unwanted = [_condition(each) for each in search.conditions if each.exclude]
    return models.Filter(must=[_of(search.library), *wanted], must_not=[expired, *unwanted])


def _condition(condition: Condition) -> models.FieldCondition:
    if isinstance(condition, Filter):
        return models.FieldCondition(key=payload.TAGS_FIELD, match=models.MatchAny(any=payload.wanted_tags(condition)))
    return models.FieldCondition(key=condition.key, range=models.Range(gte=condition.minimum, lte=condition.maximum))


def _tenant(tenant: str) -> models.Filter:
    return models.Filter(must=[_of(tenant)])


def _of(tenant: str) -> models.FieldCondition:
    return models.FieldCondition(key=payload.LIBRARY_FIELD, match=models.MatchValue(value=tenant))


def _to_point(indexed: Indexed) -> models.PointStruct:
    words = keywords.document_vector(payload.words_of(indexed))
    return models.PointStruct(
        id=str(payload.point_id(indexed.name)),
        vector={
            payload.DENSE_NAME: indexed.vector.tolist(),
            payload.SPARSE_NAME: models.SparseVector(indices=words.indices, values=words.values),
        },
        payload=payload.to_payload(indexed),
    )


def _to_indexed(point: models.Record) -> Indexed:
    return payload.to_indexed(point.payload or {}, _vector(point))


def _to_found(point: models.ScoredPoint, score: float | None = None) -> Found:
    return Found(payload.from_payload(point.payload or {}), _vector(point), point.score if score is None else score)


def _vector(point: models.Record | models.ScoredPoint) -> Vectors:
    vectors = point.vector if isinstance(point.vector, dict) else {}
    return np.asarray(vectors[payload.DENSE_NAME], dtype=np.float32)
