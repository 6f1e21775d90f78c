"""A stand-in for a Qdrant server: the part of its REST interface that the ranker uses, answered by Qdrant Edge.

Requests are read with the models of Qdrant's own client, and carried out by Qdrant's own engine. What it cannot show is
how a cluster behaves; for that the contract suite runs on a real server when `QDRANT_URL` is set.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import qdrant_edge as edge
from qdrant_client import models

OPTIMIZERS = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1,
    "default_segment_number": 0,
    "flush_interval_sec": 5,
}


class EdgeServer(httpx.AsyncBaseTransport):
    """Carries requests to collections that lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.collections: dict[str, edge.EdgeShard] = {}
        self._definitions: dict[str, models.CreateCollection] = {}
        self._routes: dict[tuple[str, str], Callable[[str, bytes], Any]] = {
            ("GET", "/exists"): lambda name, body: {"exists": name in self.collections},
            ("DELETE", ""): self._drop,
            ("PUT", ""): self._create,
            ("GET", ""): self._describe,
            ("PUT", "/index"): self._index,
            ("PUT", "/points"): self._upsert,
            ("POST", "/points"): self._retrieve,
            ("POST", "/points/delete"): self._delete,
            ("POST", "/points/scroll"): self._scroll,
            ("POST", "/points/count"): self._count,
            ("POST", "/facet"): self._facet,
            ("POST", "/points/query/batch"): self._query_batch,
        }
        self._aliases: dict[str, str] = {}
        self._whole_server: dict[tuple[str, str], Callable[[bytes], Any]] = {
            ("GET", "/collections"): lambda body: {"collections": [{"name": name} for name in self.collections]},
            ("GET", "/aliases"): self._list_aliases,
            ("POST", "/collections/aliases"): self._change_aliases,
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if action := self._whole_server.get((request.method, request.url.path)):
            return _answer(action(await request.aread()))
        match = re.fullmatch(r"/collections/([\w-]+)(/.*)?", request.url.path)
        if match is None:
            return httpx.Response(404)
        name, action = match[1], match[2] or ""
        creates = (request.method, action) == ("PUT", "")
        if creates == (name in self.collections) and action != "/exists":
            return httpx.Response(409 if creates else 404)
        return _answer(self._routes[request.method, action](name, await request.aread()))

    def close(self) -> None:
        for shard in self.collections.values():
            shard.close()

    def _list_aliases(self, body: bytes) -> dict[str, Any]:
        return {"aliases": [{"alias_name": alias, "collection_name": name} for alias, name in self._aliases.items()]}

    def _change_aliases(self, body: bytes) -> bool:
        for action in models.ChangeAliasesOperation.model_validate_json(body).actions:
            if isinstance(action, models.CreateAliasOperation):
                self._aliases[action.create_alias.alias_name] = action.create_alias.collection_name
            elif isinstance(action, models.DeleteAliasOperation):
                del self._aliases[action.delete_alias.alias_name]
        return True

    def _drop(self, name: str, body: bytes) -> bool:
        self.collections.pop(name).close()
        return True

    def definition(self, name: str) -> models.CreateCollection:
        """What a collection was asked to be."""
        return self._definitions[name]

    def _create(self, name: str, body: bytes) -> bool:
        wanted = models.CreateCollection.model_validate_json(body)
        assert isinstance(wanted.vectors, dict)
        vectors = {
            key: edge.EdgeVectorParams(
                each.size,
                edge.Distance.Dot,
                datatype=edge.VectorStorageDatatype.Float16,
                quantization_config=_codes(each.quantization_config),
            )
            for key, each in wanted.vectors.items()
            if each.distance == models.Distance.DOT and each.datatype == models.Datatype.FLOAT16
        }
        sparse = {
            key: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)
            for key, each in (wanted.sparse_vectors or {}).items()
            if each.modifier == models.Modifier.IDF
        }
        folder = self._folder / name
        folder.mkdir(parents=True)
        self._definitions[name] = wanted
        self.collections[name] = edge.EdgeShard.create(
            str(folder), edge.EdgeConfig(vectors=vectors, sparse_vectors=sparse)
        )
        return True

    def _describe(self, name: str, body: bytes) -> dict[str, Any]:
        wanted = self._definitions[name].model_dump(mode="json", exclude_none=True)
        return {
            "status": "green",
            "optimizer_status": "ok",
            "segments_count": 1,
            "payload_schema": {},
            "config": {
                "params": {"vectors": wanted["vectors"]},
                "hnsw_config": {"m": 0, "ef_construct": 100, "full_scan_threshold": 10_000},
                "optimizer_config": OPTIMIZERS,
                "metadata": wanted.get("metadata"),
            },
        }

    def _index(self, name: str, body: bytes) -> dict[str, Any]:
        wanted = models.CreateFieldIndex.model_validate_json(body)
        is_tenant = isinstance(wanted.field_schema, models.KeywordIndexParams) and wanted.field_schema.is_tenant
        is_float = wanted.field_schema == models.PayloadSchemaType.FLOAT
        params = edge.FloatIndexParams() if is_float else edge.KeywordIndexParams(is_tenant=is_tenant)
        return self._update(name, edge.UpdateOperation.create_field_index(wanted.field_name, params))

    def _upsert(self, name: str, body: bytes) -> dict[str, Any]:
        points = [
            edge.Point(str(each.id), _vectors(each.vector), each.payload)
            for each in models.PointsList.model_validate_json(body).points
        ]
        return self._update(name, edge.UpdateOperation.upsert_points(points))

    def _delete(self, name: str, body: bytes) -> dict[str, Any]:
        points = models.PointIdsList.model_validate_json(body).points
        return self._update(name, edge.UpdateOperation.delete_points([str(point) for point in points]))

    def _update(self, name: str, operation: edge.UpdateOperation) -> dict[str, Any]:
        self.collections[name].update(operation)
        return {"operation_id": 0, "status": "completed"}

    def _retrieve(self, name: str, body: bytes) -> list[dict[str, Any]]:
        wanted = models.PointRequest.model_validate_json(body)
        ids: list[Any] = [str(each) for each in wanted.ids]
        records = self.collections[name].retrieve(
            ids, with_payload=bool(wanted.with_payload), with_vector=wanted.with_vector or False
        )
        return [_record(each) for each in records]

    def _scroll(self, name: str, body: bytes) -> dict[str, Any]:
        wanted = models.ScrollRequest.model_validate_json(body)
        request = edge.ScrollRequest(
            offset=None if wanted.offset is None else str(wanted.offset),
            limit=wanted.limit,
            filter=_filter(wanted.filter) if wanted.filter else None,
            with_payload=bool(wanted.with_payload),
            with_vector=wanted.with_vector or False,
        )
        records, next_point = self.collections[name].scroll(request)
        return {
            "points": [_record(each) for each in records],
            "next_page_offset": None if next_point is None else str(next_point),
        }

    def _count(self, name: str, body: bytes) -> dict[str, Any]:
        wanted = models.CountRequest.model_validate_json(body)
        return {"count": self.collections[name].count(edge.CountRequest(filter=_filter(wanted.filter), exact=True))}

    def _facet(self, name: str, body: bytes) -> dict[str, Any]:
        wanted = models.FacetRequest.model_validate_json(body)
        request = edge.FacetRequest(wanted.key, wanted.limit or 10, True, _filter(wanted.filter))
        return {"hits": [{"value": hit.value, "count": hit.count} for hit in self.collections[name].facet(request)]}

    def _query_batch(self, name: str, body: bytes) -> list[dict[str, Any]]:
        # The client's models read a plain list as more than one kind of query; what was sent is plain.
        return [self._query(name, each) for each in json.loads(body)["searches"]]

    def _query(self, name: str, wanted: dict[str, Any]) -> dict[str, Any]:
        request = edge.QueryRequest(
            limit=wanted["limit"],
            prefetches=_prefetches(wanted),
            query=_query(wanted),
            filter=_json_filter(wanted),
            params=_params(wanted),
            with_payload=wanted["with_payload"],
            with_vector=wanted.get("with_vector") or False,
        )
        points = self.collections[name].query(request)
        return {"points": [_record(each) | {"version": each.version, "score": each.score} for each in points]}


def _answer(result: Any) -> httpx.Response:
    return httpx.Response(200, json={"result": result, "status": "ok", "time": 0.0})


def _prefetches(wanted: dict[str, Any]) -> list[edge.Prefetch]:
    prefetches = wanted.get("prefetch") or []
    return [
        edge.Prefetch(each["limit"], _query(each), _prefetches(each), filter=_json_filter(each), params=_params(each))
        for each in (prefetches if isinstance(prefetches, list) else [prefetches])
    ]


def _codes(wanted: Any) -> edge.TurboQuantQuantizationConfig | None:
    if wanted is None:
        return None
    assert wanted.turbo.bits == models.TurboQuantBitSize.BITS2
    return edge.TurboQuantQuantizationConfig(bits=edge.TurboQuantBitSize.Bits2)


def _params(wanted: dict[str, Any]) -> edge.SearchParams | None:
    params = wanted.get("params")
    if not params:
        return None
    quantization = params.get("quantization")
    return edge.SearchParams(
        exact=params.get("exact", False),
        quantization=edge.QuantizationSearchParams(**quantization) if quantization else None,
    )


def _query(wanted: dict[str, Any]) -> Any:
    query, using = wanted["query"], wanted.get("using")
    if isinstance(query, list):
        return edge.Query.Nearest(query, using=using)
    if "indices" in query:
        return edge.Query.Nearest(edge.SparseVector(**query), using=using)
    if "formula" in query:
        return edge.Formula(_expression(query["formula"]), query["defaults"])
    if "mmr" not in query:
        return edge.Query.Nearest(query["nearest"], using=using)
    mmr = query["mmr"]
    return edge.Mmr(query["nearest"], 1 - mmr["diversity"], mmr["candidates_limit"], using=using)


def _expression(formula: Any) -> edge.Expression:
    if isinstance(formula, str):
        return edge.Expression.Variable(formula)
    if isinstance(formula, float | int):
        return edge.Expression.Constant(formula)
    [(name, inner)] = formula.items()
    if name == "has_id":
        return edge.Expression.Condition(edge.HasIdCondition(set(inner)))
    if name == "div":
        return edge.Expression.Div(_expression(inner["left"]), _expression(inner["right"]), by_zero_default=0.0)
    makers = {"sum": edge.Expression.Sum, "mult": edge.Expression.Mult, "max": edge.Expression.Max}
    return makers[name]([_expression(each) for each in inner])


def _vectors(vectors: Any) -> dict[str, Any]:
    return {
        key: edge.SparseVector(each.indices, each.values) if isinstance(each, models.SparseVector) else each
        for key, each in vectors.items()
    }


def _json_filter(wanted: dict[str, Any]) -> edge.Filter | None:
    return _filter(models.Filter.model_validate(wanted["filter"])) if wanted.get("filter") else None


def _record(point: edge.Record | edge.ScoredPoint) -> dict[str, Any]:
    return {"id": str(point.id), "payload": point.payload, "vector": point.vector}


def _filter(wanted: models.Filter | None) -> edge.Filter:
    assert wanted is not None
    return edge.Filter(must=_conditions(wanted.must), must_not=_conditions(wanted.must_not))


def _conditions(conditions: Any) -> list[Any]:
    return [_condition(each) for each in conditions or ()]


def _condition(wanted: Any) -> Any:
    if isinstance(wanted, models.Filter):
        return _filter(wanted)
    if isinstance(wanted, models.HasIdCondition):
        return edge.HasIdCondition(set(wanted.has_id))
    if wanted.range:
        return edge.FieldCondition(wanted.key, range=edge.RangeFloat(gte=wanted.range.gte, lte=wanted.range.lte))
    return edge.FieldCondition(wanted.key, match=_match(wanted.match))


def _match(match: Any) -> edge.MatchValue | edge.MatchAny:
    return edge.MatchAny(match.any) if isinstance(match, models.MatchAny) else edge.MatchValue(match.value)
