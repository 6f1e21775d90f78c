"""A stand-in for a Qdrant server: the part of its REST interface that the ranker uses, answered by Qdrant Edge.

Requests are read with the models of Qdrant's own client, and carried out by Qdrant's own engine. What it cannot show is
how a cluster behaves; for that the contract suite runs on a real server when `QDRANT_URL` is set.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import qdrant_edge as edge
from qdrant_client import models

MAX_SIM = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
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
        self._collections: dict[str, edge.EdgeShard] = {}
        self._definitions: dict[str, models.CreateCollection] = {}
        self._routes: dict[tuple[str, str], Callable[[str, bytes], Any]] = {
            ("GET", "/exists"): lambda name, body: {"exists": name in self._collections},
            ("PUT", ""): self._create,
            ("GET", ""): self._describe,
            ("PUT", "/index"): self._index,
            ("PUT", "/points"): self._upsert,
            ("POST", "/points"): self._retrieve,
            ("POST", "/points/delete"): self._delete,
            ("POST", "/points/scroll"): self._scroll,
            ("POST", "/points/query"): self._query,
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        match = re.fullmatch(r"/collections/([\w-]+)(/.*)?", request.url.path)
        if match is None:
            return httpx.Response(404)
        name, action = match[1], match[2] or ""
        creates = (request.method, action) == ("PUT", "")
        if creates == (name in self._collections) and action != "/exists":
            return httpx.Response(409 if creates else 404)
        result = self._routes[request.method, action](name, await request.aread())
        return httpx.Response(200, json={"result": result, "status": "ok", "time": 0.0})

    def close(self) -> None:
        for shard in self._collections.values():
            shard.close()

    def _create(self, name: str, body: bytes) -> bool:
        wanted = models.CreateCollection.model_validate_json(body)
        assert isinstance(wanted.vectors, dict)
        vectors = {
            key: edge.EdgeVectorParams(each.size, edge.Distance.Dot, multivector_config=MAX_SIM)
            for key, each in wanted.vectors.items()
            if each.distance == models.Distance.DOT and each.multivector_config
        }
        folder = self._folder / name
        folder.mkdir(parents=True)
        self._definitions[name] = wanted
        self._collections[name] = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors=vectors))
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
        params = edge.KeywordIndexParams(is_tenant=is_tenant)
        return self._update(name, edge.UpdateOperation.create_field_index(wanted.field_name, params))

    def _upsert(self, name: str, body: bytes) -> dict[str, Any]:
        points = [
            edge.Point(str(each.id), each.vector, each.payload)  # type: ignore[arg-type]
            for each in models.PointsList.model_validate_json(body).points
        ]
        return self._update(name, edge.UpdateOperation.upsert_points(points))

    def _delete(self, name: str, body: bytes) -> dict[str, Any]:
        points = models.PointIdsList.model_validate_json(body).points
        return self._update(name, edge.UpdateOperation.delete_points([str(point) for point in points]))

    def _update(self, name: str, operation: edge.UpdateOperation) -> dict[str, Any]:
        self._collections[name].update(operation)
        return {"operation_id": 0, "status": "completed"}

    def _retrieve(self, name: str, body: bytes) -> list[dict[str, Any]]:
        wanted = models.PointRequest.model_validate_json(body)
        ids: list[Any] = [str(each) for each in wanted.ids]
        records = self._collections[name].retrieve(ids, with_payload=bool(wanted.with_payload), with_vector=False)
        return [_record(each) for each in records]

    def _scroll(self, name: str, body: bytes) -> dict[str, Any]:
        wanted = models.ScrollRequest.model_validate_json(body)
        request = edge.ScrollRequest(
            offset=None if wanted.offset is None else str(wanted.offset),
            limit=wanted.limit,
            filter=_filter(wanted.filter),
            with_payload=bool(wanted.with_payload),
        )
        records, next_point = self._collections[name].scroll(request)
        return {
            "points": [_record(each) for each in records],
            "next_page_offset": None if next_point is None else str(next_point),
        }

    def _query(self, name: str, body: bytes) -> dict[str, Any]:
        wanted = models.QueryRequest.model_validate_json(body)
        nearest: Any = json.loads(body)["query"]["nearest"]
        request = edge.QueryRequest(
            limit=wanted.limit or 10,
            query=edge.Query.Nearest(nearest, using=wanted.using),
            filter=_filter(wanted.filter),
            with_payload=bool(wanted.with_payload),
            with_vector=bool(wanted.with_vector),
        )
        points = self._collections[name].query(request)
        return {"points": [_record(each) | {"version": each.version, "score": each.score} for each in points]}


def _record(point: edge.Record | edge.ScoredPoint) -> dict[str, Any]:
    return {"id": str(point.id), "payload": point.payload, "vector": point.vector}


def _filter(wanted: models.Filter | None) -> edge.Filter:
    assert wanted is not None
    return edge.Filter(must=_conditions(wanted.must), must_not=_conditions(wanted.must_not))


def _conditions(conditions: Any) -> list[Any]:
    found: Sequence[models.FieldCondition] = conditions or ()
    return [edge.FieldCondition(each.key, match=_match(each.match)) for each in found]


def _match(match: Any) -> edge.MatchValue | edge.MatchAny:
    return edge.MatchAny(match.any) if isinstance(match, models.MatchAny) else edge.MatchValue(match.value)
