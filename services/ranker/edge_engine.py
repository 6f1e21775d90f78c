"""The embedded vector engine: Qdrant Edge in one folder, for the process that it has to itself.

The engine holds the interpreter's lock while it works, so `edge_store` asks it in another process.

A search compares all backgrounds of the library, one tenant of the payload index, by 2 bits a number (Zandieh et al.
2025, "TurboQuant: Online Vector Quantization with Near-optimal Distortion Rate"), and the best of them, `RESCORED` or
more, by the stored vectors. A graph would cost recall, and a minute of building for each 100,000.
"""

import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as edge

from services.ranker import keywords, payload
from services.ranker.background import Condition, Filter
from services.ranker.config import RankerConfig
from services.ranker.keywords import SparseVector
from services.ranker.signals import Vectors
from services.ranker.store_folder import (
    compacted_points,
    finish_version,
    make_version,
    owned_folder,
    record_compacted,
    require_room,
    start_version,
    unreadable,
    version_path,
    writable,
)
from services.ranker.vector_store import (
    POOL_SIZE,
    Search,
    VectorSpace,
    mmr_vector,
    oversampling,
)

EXACT = edge.SearchParams(exact=True)
NOT_FOUND = -2.0
"""Less than any score."""
FACET_LIMIT = 1000
LEAST_COMPACTED_KB = 1000
LAST_ENGINE_S = 10.0
"""How long an engine waits for the one of a ranker that has died."""


@contextmanager
def open_edge_engine(config: RankerConfig, space: VectorSpace, number: int) -> Iterator["EdgeEngine"]:
    """Opens a version of the store in the folder that the configuration names, or makes it.

    Args:
        config: names the folder.
        space: of the vectors to keep.
        number: of the version; one process has it to itself until the end.

    Raises:
        StoreInUse: another process has the version.
        StoreNotWritable: it cannot be made or written.
        StoreDamaged: it cannot be read.
    """
    path = config.store_path
    # Whoever wants the folder has to stop the ranker: this process would be started again.
    with owned_folder(version_path(path, number), owner=os.getppid(), patience_s=LAST_ENGINE_S):
        make_version(path, number, space, lambda folder: _create_shard(folder, space))
        shard = _load_shard(path, number, space)
        try:
            yield EdgeEngine(shard, path, config.store_min_free_mib, compacted_points(path, number))
        finally:
            shard.close()


@contextmanager
def open_compactor(config: RankerConfig, source: int, target: int) -> Iterator["Compactor"]:
    """Opens what makes a compact copy of version `source` as version `target`."""
    # Searches come first.
    os.nice(10)
    yield Compactor(config.store_path, source, target)


class Compactor:
    """Makes a copy of a version that is laid out library by library, for fast searches."""

    def __init__(self, path: Path, source: int, target: int) -> None:
        self.card = "compactor"
        self._path = path
        self._source = version_path(path, source)
        self._target = version_path(path, target)

    def copy(self) -> None:
        """Copies all that is written; nothing may be written meanwhile."""
        with writable(self._path):
            shutil.copytree(self._source / "data", start_version(self._target))

    def compact(self) -> None:
        """Lays the copy out and makes it a whole version."""
        shard = edge.EdgeShard.load(str(self._target / "data.unfinished" / "shard"))
        shard.optimize()
        shard.flush()
        points = shard.info().points_count
        shard.close()
        with writable(self._path):
            # The engine does not tell: what it keeps without a graph, it never counts as indexed.
            record_compacted(self._target, points)
            finish_version(self._target)


@dataclass(frozen=True, slots=True)
class Points:
    """Points as they cross between processes, cheap to pickle.

    Attributes:
        ids: of the points; empty where nobody asks for them.
        payloads: theirs.
        vectors: theirs, (points, dimension).
        words: the hashes and counts of their words, to write them; empty of points that were read.
        scores: of points that were found.
    """

    ids: Sequence[str]
    payloads: Sequence[dict[str, Any]]
    vectors: Vectors
    words: Sequence[SparseVector] = ()
    scores: Sequence[float] = ()


class EdgeEngine:
    """A shard of Qdrant Edge, asked for one thing at a time.

    Writes are durable once `commit` has returned.
    """

    def __init__(self, shard: edge.EdgeShard, path: Path, min_free_mib: int, compacted: int) -> None:
        self.card = "edge"
        self._shard = shard
        self._path = path
        self._min_free_mib = min_free_mib
        self._compacted = compacted

    def upsert(self, points: Points) -> list[bool]:
        """Stores points in one operation; says which are new."""
        require_room(self._path, self._min_free_mib)
        stored = {str(record.id) for record in self._retrieve(points.ids)}
        self._shard.update(edge.UpdateOperation.upsert_points(_to_points(points)))
        return [point not in stored for point in points.ids]

    def delete(self, points: Sequence[str]) -> list[bool]:
        """Forgets points; says for each whether there was one."""
        stored = [str(record.id) for record in self._retrieve(points)]
        if stored:
            ids: list[UUID | int | str] = list(stored)
            self._shard.update(edge.UpdateOperation.delete_points(ids))
        return [point in stored for point in points]

    def commit(self) -> None:
        """Flushes all that was written to the disk."""
        self._shard.flush()

    def sizes(self) -> tuple[int, int]:
        """How many points there are, and about how many of them no compaction has laid out."""
        points = self._shard.info().points_count
        return points, max(0, points - self._compacted)

    def get(self, point: str) -> dict[str, Any] | None:
        """The payload of a point, if there is one."""
        records = self._retrieve([point], with_payload=True)
        return records[0].payload if records else None

    def page(self, tenant: str, limit: int, first_point: UUID | None) -> tuple[list[dict[str, Any]], UUID | None]:
        """Payloads of one page of a tenant, in the order of the points, and the point to go on from."""
        request = edge.ScrollRequest(offset=first_point, limit=limit, filter=_tenant(tenant), with_payload=True)
        records, next_point = self._shard.scroll(request)
        return [record.payload or {} for record in records], None if next_point is None else _uuid(next_point)

    def read(self, points: Sequence[str]) -> Points:
        """Those of the points that there are."""
        records = self._shard.retrieve(list(points), with_payload=True, with_vector=[payload.DENSE_NAME])
        return _from_points(records)

    def export_page(self, library: str | None, limit: int, first_point: UUID | None) -> tuple[Points, UUID | None]:
        """One page of a library, or of all, in the order of the points, and the point to go on from."""
        request = edge.ScrollRequest(
            offset=first_point,
            limit=limit,
            filter=None if library is None else _tenant(library),
            with_payload=True,
            with_vector=[payload.DENSE_NAME],
        )
        records, next_point = self._shard.scroll(request)
        return _from_points(records), None if next_point is None else _uuid(next_point)

    def count(self, library: str) -> int:
        """How many points the library holds."""
        return self._shard.count(edge.CountRequest(filter=_tenant(library), exact=True))

    def attribute_keys(self, library: str) -> frozenset[str]:
        """The keys of all attributes that backgrounds of the library have."""
        request = edge.FacetRequest(payload.KEYS_FIELD, limit=FACET_LIMIT, exact=True, filter=_tenant(library))
        return frozenset(str(hit.value) for hit in self._shard.facet(request).hits)

    def search(self, search: Search) -> Points:
        """The best of the library, by comparison with all that fulfil the conditions."""
        conditions = self._conditions(search)
        if search.diversity:
            return self._diverse(search, conditions)
        found = self._shard.query(_best(search, conditions, search.limit, with_vector=True))
        return _from_points(found, [point.score for point in found])

    def nearest(self, tenant: str, vector: Vectors, limit: int) -> list[tuple[dict[str, Any], float]]:
        """Payloads of a tenant's points that are nearest to a vector, (dimension,), each with the dot product."""
        request = edge.QueryRequest(
            limit=limit,
            query=edge.Query.Nearest(vector.tolist(), using=payload.DENSE_NAME),
            filter=_tenant(tenant),
            params=_rescored(limit),
            with_payload=True,
        )
        return [(point.payload or {}, point.score) for point in self._shard.query(request)]

    def _diverse(self, search: Search, conditions: edge.Filter) -> Points:
        """Maximal marginal relevance by the engine, over the best by all signals."""
        pool = self._shard.query(_best(search, conditions, max(POOL_SIZE, search.limit), with_vector=False))
        if not pool:
            return _from_points(pool)
        scores = {point.id: point.score for point in pool}
        best = _vector(self._shard.retrieve([pool[0].id], with_payload=False, with_vector=[payload.DENSE_NAME])[0])
        request = edge.QueryRequest(
            limit=search.limit,
            query=edge.Mmr(
                mmr_vector(search.vector, pool[0].score, best).tolist(),
                1 - search.diversity,
                len(scores),
                using=payload.DENSE_NAME,
            ),
            filter=edge.Filter(must=[edge.HasIdCondition(set(scores))]),
            params=EXACT,
            with_payload=True,
            with_vector=[payload.DENSE_NAME],
        )
        found = self._shard.query(request)
        return _from_points(found, [scores[point.id] for point in found])

    def _conditions(self, search: Search) -> edge.Filter:
        wanted = [_condition(each) for each in search.conditions if not each.exclude]
        unwanted: list[Any] = [_condition(each) for each in search.conditions if each.exclude]
        expired = edge.FieldCondition(payload.EXPIRE_FIELD, range=edge.RangeFloat(lte=search.now.timestamp()))
        of_library = _of(search.library)
        # Nearly always there are none, and a condition on each background takes a third of a search.
        if self._shard.count(edge.CountRequest(filter=edge.Filter(must=[of_library, expired]), exact=True)):
            unwanted.append(expired)
        return edge.Filter(must=[of_library, *wanted], must_not=unwanted)

    def _retrieve(self, points: Sequence[str], with_payload: bool = False) -> list[edge.Record]:
        ids: list[UUID | int | str] = list(points)
        return self._shard.retrieve(ids, with_payload=with_payload, with_vector=False)


def _best(search: Search, conditions: edge.Filter, limit: int, with_vector: bool) -> edge.QueryRequest:
    """The query for the points with the highest scores."""
    nearest = edge.Query.Nearest(search.vector.tolist(), using=payload.DENSE_NAME)
    vectors: list[str] | bool = [payload.DENSE_NAME] if with_vector else False
    words = keywords.query_vector(search.words) if search.words_weight else None
    if words is None and not search.nudges:
        return edge.QueryRequest(
            limit=limit,
            query=nearest,
            filter=conditions,
            params=_rescored(limit),
            with_payload=with_vector,
            with_vector=vectors,
        )
    pool = max(POOL_SIZE, limit)
    dense = [edge.Prefetch(pool, nearest, filter=conditions, params=_rescored(pool))]
    sparse = []
    if words is not None:
        query = edge.Query.Nearest(edge.SparseVector(words.indices, words.values), using=payload.SPARSE_NAME)
        sparse = [edge.Prefetch(pool, query, filter=conditions)]
        # Those that the words alone nominate get their score by the other signals as well.
        dense.append(edge.Prefetch(pool, nearest, prefetches=sparse, params=EXACT))
    if search.nudges:
        nudged = edge.Filter(
            must=[edge.HasIdCondition(set().union(*payload.points_by_nudge(search).values())), conditions]
        )
        dense.append(edge.Prefetch(len(search.nudges), nearest, filter=nudged, params=EXACT))
    return edge.QueryRequest(
        limit=limit,
        prefetches=[*dense, *sparse],
        query=_sum_of_all(search, len(dense), bool(sparse)),
        with_payload=with_vector,
        with_vector=vectors,
    )


def _rescored(limit: int) -> edge.SearchParams:
    return edge.SearchParams(quantization=edge.QuantizationSearchParams(rescore=True, oversampling=oversampling(limit)))


def _sum_of_all(search: Search, dense: int, by_words: bool) -> edge.Formula:
    """The score by the dense vector, plus the words' BM25 score, bent to 0 to 1, times its weight, plus nudges."""
    variables = [edge.Expression.Variable(f"$score[{number}]") for number in range(dense + by_words)]
    # A background that several prefetches found has its score in each of them.
    terms = [edge.Expression.Max(variables[:dense])]
    if by_words:
        half = edge.Expression.Sum([variables[-1], edge.Expression.Constant(keywords.HALF_SIMILARITY)])
        bent = edge.Expression.Div(variables[-1], half, by_zero_default=0.0)
        terms.append(edge.Expression.Mult([edge.Expression.Constant(search.words_weight), bent]))
    for nudge, points in payload.points_by_nudge(search).items():
        is_nudged = edge.Expression.Condition(edge.HasIdCondition(points))
        terms.append(edge.Expression.Mult([edge.Expression.Constant(nudge), is_nudged]))
    defaults = dict.fromkeys([f"$score[{number}]" for number in range(dense)], NOT_FOUND)
    return edge.Formula(edge.Expression.Sum(terms), defaults | ({f"$score[{dense}]": 0.0} if by_words else {}))


def _condition(condition: Condition) -> edge.FieldCondition:
    if isinstance(condition, Filter):
        return edge.FieldCondition(payload.TAGS_FIELD, match=edge.MatchAny(payload.wanted_tags(condition)))
    return edge.FieldCondition(condition.key, range=edge.RangeFloat(gte=condition.minimum, lte=condition.maximum))


def _tenant(tenant: str) -> edge.Filter:
    return edge.Filter(must=[_of(tenant)])


def _of(tenant: str) -> edge.FieldCondition:
    return edge.FieldCondition(payload.LIBRARY_FIELD, match=edge.MatchValue(tenant))


def _create_shard(folder: Path, space: VectorSpace) -> None:
    # Half precision: half the memory and half the time of a search, for differences of a ten-thousandth.
    dense = edge.EdgeVectorParams(
        space.layout.dimension,
        edge.Distance.Dot,
        datatype=edge.VectorStorageDatatype.Float16,
        quantization_config=edge.TurboQuantQuantizationConfig(
            bits=edge.TurboQuantBitSize.Bits2, memory=edge.Memory.Pinned
        ),
        memory=edge.Memory.Cached,
    )
    config = edge.EdgeConfig(
        vectors={payload.DENSE_NAME: dense},
        sparse_vectors={payload.SPARSE_NAME: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        hnsw_config=edge.HnswIndexConfig(m=0, payload_m=0, ef_construct=4, full_scan_threshold=0),
        optimizers=edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=LEAST_COMPACTED_KB),
        payload_memory=edge.Memory.Cached,
        # One search runs at a time, and threads of its own would only take turns on its core.
        max_search_threads=1,
    )
    shard = edge.EdgeShard.create(str(folder), config)
    index = edge.UpdateOperation.create_field_index
    shard.update(index(payload.LIBRARY_FIELD, edge.KeywordIndexParams(is_tenant=True)))
    for field in (payload.TAGS_FIELD, payload.KEYS_FIELD):
        shard.update(index(field, edge.KeywordIndexParams()))
    for field in (*payload.NUMBER_FIELDS, payload.EXPIRE_FIELD):
        shard.update(index(field, edge.FloatIndexParams()))
    shard.flush()
    shard.close()


def _load_shard(path: Path, number: int, space: VectorSpace) -> edge.EdgeShard:
    try:
        shard = edge.EdgeShard.load(str(version_path(path, number) / "data" / "shard"))
        _read_through(shard, space)
        return shard
    except (KeyboardInterrupt, SystemExit):
        raise
    # The engine's panics are no Exceptions.
    except BaseException as error:
        raise unreadable(path) from error


def _read_through(shard: edge.EdgeShard, space: VectorSpace) -> None:
    """Fails if the shard cannot be read: the engine opens some damaged files and fails when they are used."""
    request = edge.QueryRequest(
        limit=1,
        query=edge.Query.Nearest([1.0] * space.layout.dimension, using=payload.DENSE_NAME),
        params=EXACT,
        with_payload=True,
        with_vector=[payload.DENSE_NAME],
    )
    found = _from_points(shard.query(request))
    if not found.payloads and shard.count(edge.CountRequest()):
        raise ValueError("there are points, but a search finds none")
    for held, vector in zip(found.payloads, found.vectors, strict=True):
        payload.to_indexed(held, vector)


def _to_points(points: Points) -> list[edge.Point]:
    return [
        edge.Point(
            point,
            {
                payload.DENSE_NAME: vector.tolist(),
                payload.SPARSE_NAME: edge.SparseVector(words.indices, words.values),
            },
            held,
        )
        for point, held, vector, words in zip(points.ids, points.payloads, points.vectors, points.words, strict=True)
    ]


def _from_points(points: Sequence[edge.Record] | Sequence[edge.ScoredPoint], scores: Sequence[float] = ()) -> Points:
    return Points(
        ids=(),
        payloads=[point.payload or {} for point in points],
        vectors=np.array([_vector(point) for point in points], dtype=np.float32),
        scores=scores,
    )


def _vector(point: edge.Record | edge.ScoredPoint) -> Vectors:
    # Each access to the property makes its Python objects anew, and numpy takes twice the time of this for a list.
    held: Any = point.vector
    values = held[payload.DENSE_NAME]
    return np.frombuffer(struct.pack(f"{len(values)}f", *values), dtype=np.float32)


def _uuid(point: UUID | int | str) -> UUID:
    return point if isinstance(point, UUID) else UUID(str(point))
