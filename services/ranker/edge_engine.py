"""The embedded vector engine: Qdrant Edge in one folder, for the process that it has to itself.

The engine holds the interpreter's lock while it works, so `edge_store` asks it in another process. Searches are exact:
a library is one tenant of the payload index, and comparing all of its backgrounds takes about a millisecond for ten
thousand, while the graph that `optimize()` would build costs recall and stops the engine for a minute.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import numpy as np
import qdrant_edge as edge

from services.ranker import keywords, payload
from services.ranker.background import Background, BackgroundName, Condition, Filter
from services.ranker.config import RankerConfig
from services.ranker.signals import Vectors
from services.ranker.store_folder import damaged, make_shard, owned_folder, require_room, stored_space
from services.ranker.vector_store import (
    POOL_SIZE,
    Found,
    IndexedBackground,
    Page,
    Search,
    VectorSpace,
    mmr_vector,
)

EXACT = edge.SearchParams(exact=True)
FACET_LIMIT = 1000


@contextmanager
def open_edge_engine(config: RankerConfig, space: VectorSpace) -> Iterator["EdgeEngine"]:
    """Opens the store in the folder that the configuration names, or makes it; one process owns it until the end.

    Args:
        config: names the folder.
        space: of the vectors to keep.

    Raises:
        StoreInUse: another store owns the folder.
        StoreNotWritable: it cannot be made or written.
        StoreDamaged: it cannot be read.
        EmbeddingModelChanged: it holds vectors of other models.
    """
    path = config.store_path
    # Whoever wants the folder has to stop the ranker: this process would be started again.
    with owned_folder(path, owner=os.getppid()):
        make_shard(path, space, lambda folder: _create_shard(folder, space))
        space.require(stored_space(path), f"The store in {path}", "BACKDROP_RANKER_STORE_PATH")
        shard = _load_shard(path, space)
        try:
            yield EdgeEngine(shard, path, config.store_min_free_mib)
        finally:
            shard.close()


class EdgeEngine:
    """What `VectorStore` promises, one call at a time, in a shard of Qdrant Edge.

    Writes are durable once `commit` has returned.
    """

    def __init__(self, shard: edge.EdgeShard, path: Path, min_free_mib: int) -> None:
        self.card = "edge"
        self._shard = shard
        self._path = path
        self._min_free_mib = min_free_mib

    def upsert(self, backgrounds: Sequence[IndexedBackground]) -> list[bool]:
        """Stores the backgrounds in one operation; says which are new."""
        require_room(self._path, self._min_free_mib)
        points = [_to_point(each) for each in backgrounds]
        stored = {record.id for record in self._retrieve([point.id for point in points])}
        self._shard.update(edge.UpdateOperation.upsert_points(points))
        return [point.id not in stored for point in points]

    def delete(self, name: BackgroundName) -> bool:
        """Forgets a background; says whether there was one."""
        point = payload.point_id(name)
        found = bool(self._retrieve([point]))
        if found:
            self._shard.update(edge.UpdateOperation.delete_points([point]))
        return found

    def commit(self) -> None:
        """Flushes all that was written to the disk."""
        self._shard.flush()

    def get(self, name: BackgroundName) -> Background | None:
        """The background of that name, if there is one."""
        records = self._retrieve([payload.point_id(name)], with_payload=True)
        return _to_background(records[0]) if records else None

    def page(self, library: str, limit: int, first_point: UUID | None) -> Page:
        """One page of a library, in the order of the points."""
        request = edge.ScrollRequest(offset=first_point, limit=limit, filter=_tenant(library), with_payload=True)
        records, next_point = self._shard.scroll(request)
        return Page(tuple(map(_to_background, records)), None if next_point is None else _uuid(next_point))

    def count(self, library: str) -> int:
        """How many backgrounds the library holds."""
        return self._shard.count(edge.CountRequest(filter=_tenant(library), exact=True))

    def attribute_keys(self, library: str) -> frozenset[str]:
        """The keys of all attributes that backgrounds of the library have."""
        request = edge.FacetRequest(payload.KEYS_FIELD, limit=FACET_LIMIT, exact=True, filter=_tenant(library))
        return frozenset(str(hit.value) for hit in self._shard.facet(request).hits)

    def search(self, search: Search) -> list[Found]:
        """The best of the library, by exact comparison with all that fulfil the conditions."""
        if search.diversity:
            return self._diverse(search)
        return [_to_found(each) for each in self._shard.query(_best(search, search.limit, with_vector=True))]

    def _diverse(self, search: Search) -> list[Found]:
        """Maximal marginal relevance by the engine, over the best by all signals."""
        pool = self._shard.query(_best(search, max(POOL_SIZE, search.limit), with_vector=False))
        if not pool:
            return []
        scores = {point.id: point.score for point in pool}
        [best] = self._shard.retrieve([pool[0].id], with_payload=False, with_vector=[payload.DENSE_NAME])
        request = edge.QueryRequest(
            limit=search.limit,
            query=edge.Mmr(
                mmr_vector(search.vector, pool[0].score, _vector(best)).tolist(),
                1 - search.diversity,
                len(scores),
                using=payload.DENSE_NAME,
            ),
            filter=edge.Filter(must=[edge.HasIdCondition(set(scores))]),
            params=EXACT,
            with_payload=True,
            with_vector=[payload.DENSE_NAME],
        )
        return [_to_found(each, scores[each.id]) for each in self._shard.query(request)]

    def _retrieve(self, points: Sequence[UUID | int | str], with_payload: bool = False) -> list[edge.Record]:
        return self._shard.retrieve(list(points), with_payload=with_payload, with_vector=False)


def _best(search: Search, limit: int, with_vector: bool) -> edge.QueryRequest:
    """The query for the backgrounds with the highest scores."""
    conditions = _conditions(search)
    nearest = edge.Query.Nearest(search.vector.tolist(), using=payload.DENSE_NAME)
    vectors: list[str] | bool = [payload.DENSE_NAME] if with_vector else False
    words = keywords.query_vector(search.words)
    if not words.indices or not search.words_weight:
        return edge.QueryRequest(
            limit=limit,
            query=nearest,
            filter=conditions,
            params=EXACT,
            with_payload=with_vector,
            with_vector=vectors,
        )
    sparse = edge.SparseVector(words.indices, words.values)
    pool = max(POOL_SIZE, limit)
    by_words = edge.Prefetch(pool, edge.Query.Nearest(sparse, using=payload.SPARSE_NAME), filter=conditions)
    by_signals = edge.Prefetch(pool, nearest, filter=conditions, params=EXACT)
    # Those that the words alone nominate get their score by the other signals as well.
    of_words = edge.Prefetch(pool, nearest, prefetches=[by_words], params=EXACT)
    return edge.QueryRequest(
        limit=limit,
        prefetches=[by_signals, of_words, by_words],
        query=_sum_of_signals_and_words(search.words_weight),
        with_payload=with_vector,
        with_vector=vectors,
    )


def _sum_of_signals_and_words(weight: float) -> edge.Formula:
    """The score by the dense vector, plus the words' BM25 score, bent to 0 to 1, times its weight."""
    by_signals, of_words, by_words = (edge.Expression.Variable(f"$score[{number}]") for number in range(3))
    half = edge.Expression.Sum([by_words, edge.Expression.Constant(keywords.HALF_SIMILARITY)])
    bent = edge.Expression.Div(by_words, half, by_zero_default=0.0)
    weighted = edge.Expression.Mult([edge.Expression.Constant(weight), bent])
    # A background that both prefetches found has its score twice.
    dense = edge.Expression.Max([by_signals, of_words])
    return edge.Formula(
        edge.Expression.Sum([dense, weighted]), {"$score[0]": -2.0, "$score[1]": -2.0, "$score[2]": 0.0}
    )


def _conditions(search: Search) -> edge.Filter:
    expired = edge.FieldCondition(payload.EXPIRE_FIELD, range=edge.RangeFloat(lte=search.now.timestamp()))
    wanted = [_condition(each) for each in search.conditions if not each.exclude]
    unwanted = [_condition(each) for each in search.conditions if each.exclude]
    return edge.Filter(must=[_of(search.library), *wanted], must_not=[expired, *unwanted])


def _condition(condition: Condition) -> edge.FieldCondition:
    if isinstance(condition, Filter):
        return edge.FieldCondition(payload.TAGS_FIELD, match=edge.MatchAny(payload.wanted_tags(condition)))
    return edge.FieldCondition(condition.key, range=edge.RangeFloat(gte=condition.minimum, lte=condition.maximum))


def _tenant(library: str) -> edge.Filter:
    return edge.Filter(must=[_of(library)])


def _of(library: str) -> edge.FieldCondition:
    return edge.FieldCondition(payload.LIBRARY_FIELD, match=edge.MatchValue(library))


def _create_shard(folder: Path, space: VectorSpace) -> None:
    # Half precision: half the memory and half the time of a search, for differences of a ten-thousandth.
    dense = edge.EdgeVectorParams(
        space.layout.dimension, edge.Distance.Dot, datatype=edge.VectorStorageDatatype.Float16
    )
    sparse = edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)
    config = edge.EdgeConfig(vectors={payload.DENSE_NAME: dense}, sparse_vectors={payload.SPARSE_NAME: sparse})
    shard = edge.EdgeShard.create(str(folder), config)
    index = edge.UpdateOperation.create_field_index
    shard.update(index(payload.LIBRARY_FIELD, edge.KeywordIndexParams(is_tenant=True)))
    for field in (payload.TAGS_FIELD, payload.KEYS_FIELD):
        shard.update(index(field, edge.KeywordIndexParams()))
    for field in (*payload.NUMBER_FIELDS, payload.EXPIRE_FIELD):
        shard.update(index(field, edge.FloatIndexParams()))
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
        query=edge.Query.Nearest([1.0] * space.layout.dimension, using=payload.DENSE_NAME),
        params=EXACT,
        with_payload=True,
        with_vector=[payload.DENSE_NAME],
    )
    found = [_to_found(each) for each in shard.query(request)]
    if not found and shard.count(edge.CountRequest()):
        raise ValueError("there are points, but a search finds none")


def _to_point(indexed: IndexedBackground) -> edge.Point:
    words = keywords.document_vector(indexed.background.words)
    vectors: dict[str, edge.NamedVector] = {
        payload.DENSE_NAME: indexed.vector.tolist(),
        payload.SPARSE_NAME: edge.SparseVector(words.indices, words.values),
    }
    return edge.Point(payload.point_id(indexed.background.name), vectors, payload.to_payload(indexed.background))


def _to_background(point: edge.Record | edge.ScoredPoint) -> Background:
    return payload.from_payload(point.payload or {})


def _to_found(point: edge.ScoredPoint, score: float | None = None) -> Found:
    return Found(_to_background(point), _vector(point), point.score if score is None else score)


def _vector(point: edge.Record | edge.ScoredPoint) -> Vectors:
    vectors = point.vector if isinstance(point.vector, dict) else {}
    return np.asarray(vectors[payload.DENSE_NAME], dtype=np.float32)


def _uuid(point: UUID | int | str) -> UUID:
    return point if isinstance(point, UUID) else UUID(str(point))
