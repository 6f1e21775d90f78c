"""The vector store on a Qdrant server or cluster."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
from qdrant_client import AsyncQdrantClient, models

from services.ranker import keywords, payload
from services.ranker.background import Background, BackgroundName, Condition
from services.ranker.feedback import FeedbackPage, SimilarFeedback
from services.ranker.rules import RulesName
from services.ranker.server_errors import wrapped_errors
from services.ranker.server_queries import EXACT, best, of_tenant, rescored
from services.ranker.signals import Vectors
from services.ranker.vector_store import (
    POOL_SIZE,
    Found,
    Indexed,
    IndexedPage,
    Name,
    Page,
    Search,
    StoreUnreachable,
    mmr_vector,
)

FACET_LIMIT = 1000


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
        with wrapped_errors():
            stored = {str(each.id) for each in await self._client.retrieve(self.collection, ids, with_payload=False)}
            await self._client.upsert(self.collection, points, wait=True)
        return [point not in stored for point in ids]

    async def get(self, name: BackgroundName) -> Background | None:
        """The background of that name, if there is one."""
        with wrapped_errors():
            records = await self._client.retrieve(self.collection, [str(payload.point_id(name))])
        return payload.from_payload(records[0].payload or {}) if records else None

    async def delete(self, names: Sequence[Name]) -> list[bool]:
        """Forgets what has those names, in one operation."""
        points = [str(payload.point_id(name)) for name in names]
        with wrapped_errors():
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
        with wrapped_errors():
            records, next_point = await self._client.scroll(
                self.collection,
                scroll_filter=of_tenant(tenant),
                limit=limit,
                offset=None if first_point is None else str(first_point),
            )
        return [each.payload or {} for each in records], None if next_point is None else UUID(str(next_point))

    async def read(self, names: Sequence[Name]) -> list[Indexed]:
        """What there is of those names."""
        points = [str(payload.point_id(name)) for name in names]
        with wrapped_errors():
            records = await self._client.retrieve(self.collection, points, with_vectors=[payload.DENSE_NAME])
        return [_to_indexed(each) for each in records]

    async def export_page(self, library: str | None, limit: int, first_point: UUID | None = None) -> IndexedPage:
        """One page of a library, or of all, with vectors, in the order of the points."""
        with wrapped_errors():
            records, next_point = await self._client.scroll(
                self.collection,
                scroll_filter=None if library is None else of_tenant(library),
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
            filter=of_tenant(payload.feedback_tenant(library)),
            params=rescored(limit),
            limit=limit,
            with_payload=True,
        )
        with wrapped_errors():
            return [payload.to_similar(each.payload or {}, each.score) for each in await self._query(request)]

    async def feedback_page(self, library: str, limit: int, first_point: UUID | None = None) -> FeedbackPage:
        """One page of a library's feedback, in the order of the points."""
        payloads, next_point = await self._payloads(payload.feedback_tenant(library), limit, first_point)
        return FeedbackPage(tuple(map(payload.to_feedback, payloads)), next_point)

    async def rules(self, library: str) -> tuple[Condition, ...]:
        """The library's rules; none where none were set."""
        with wrapped_errors():
            records = await self._client.retrieve(self.collection, [str(payload.point_id(RulesName(library)))])
        return payload.to_rules(records[0].payload or {}) if records else ()

    async def count(self, library: str) -> int:
        """How many backgrounds the library holds."""
        with wrapped_errors():
            return (await self._client.count(self.collection, count_filter=of_tenant(library), exact=True)).count

    async def attribute_keys(self, library: str) -> frozenset[str]:
        """The keys of all attributes that backgrounds of the library have."""
        with wrapped_errors():
            facets = await self._client.facet(
                self.collection, payload.KEYS_FIELD, facet_filter=of_tenant(library), limit=FACET_LIMIT, exact=True
            )
        return frozenset(str(hit.value) for hit in facets.hits)

    async def search(self, search: Search) -> list[Found]:
        """The best of the library."""
        with wrapped_errors():
            if search.diversity:
                return await self._diverse(search)
            return [_to_found(each) for each in await self._query(best(search, search.limit, with_vector=True))]

    async def _diverse(self, search: Search) -> list[Found]:
        """Maximal marginal relevance by the server, over the best by all signals."""
        pool = await self._query(best(search, max(POOL_SIZE, search.limit), with_vector=False))
        if not pool:
            return []
        scores = {str(point.id): point.score for point in pool}
        dense = [payload.DENSE_NAME]
        [first] = await self._client.retrieve(self.collection, [pool[0].id], with_payload=False, with_vectors=dense)
        request = models.QueryRequest(
            limit=search.limit,
            query=models.NearestQuery(
                nearest=mmr_vector(search.vector, pool[0].score, _vector(first)).tolist(),
                mmr=models.Mmr(diversity=search.diversity, candidates_limit=len(scores)),
            ),
            using=payload.DENSE_NAME,
            filter=models.Filter(must=[models.HasIdCondition(has_id=list(scores))]),
            params=EXACT,
            with_payload=True,
            with_vector=[payload.DENSE_NAME],
        )
        return [_to_found(each, scores[str(each.id)]) for each in await self._query(request)]

    async def _query(self, request: models.QueryRequest) -> list[models.ScoredPoint]:
        [response] = await self._client.query_batch_points(self.collection, [request])
        return response.points

    async def check(self) -> None:
        """Raises when the server does not answer or has lost the collection."""
        with wrapped_errors():
            if await self._client.collection_exists(self.collection):
                return
        raise StoreUnreachable(f"The Qdrant server lost collection {self.collection}: restart the ranker.")


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
