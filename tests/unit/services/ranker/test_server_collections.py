"""How the Qdrant server's failures reach the ranker's callers. A transport makes them happen."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from chassis.errors import BackdropError
from services.ranker.server_collections import connect_server_store
from services.ranker.vector_store import (
    EmbeddingModelChanged,
    StoreDamaged,
    StoreFailed,
    StoreRefused,
    StoreUnreachable,
    VectorSpace,
)
from tests.unit.services.ranker.edge_server import EdgeServer
from tests.unit.services.ranker.fakes import background

SPACE = VectorSpace("a-model", 8, "eye", 4)


class FlakyServer(httpx.AsyncBaseTransport):
    """A Qdrant server that fails while `failure` is set."""

    def __init__(self, folder: Path) -> None:
        self._server = EdgeServer(folder)
        self.failure: Callable[[httpx.Request], httpx.Response] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.failure is not None:
            return self.failure(request)
        return await self._server.handle_async_request(request)


def answers(status: int, headers: dict[str, str] | None = None) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: httpx.Response(status, headers=headers, json={"status": {"error": "no"}, "time": 0})


def refuse_connection(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def time_out(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("too late", request=request)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (refuse_connection, StoreUnreachable),
        (time_out, StoreUnreachable),
        (answers(500), StoreUnreachable),
        (answers(503), StoreUnreachable),
        (answers(429), StoreUnreachable),
        (answers(401), StoreRefused),
        (answers(403), StoreRefused),
        (answers(400), StoreFailed),
        (lambda request: httpx.Response(200, json={"result": "nonsense"}), StoreFailed),
    ],
)
async def test_a_failure_has_its_own_error_and_the_next_call_works(
    tmp_path: Path, failure: Callable[[httpx.Request], httpx.Response], expected: type[BackdropError]
) -> None:
    server = FlakyServer(tmp_path)
    async with connect_server_store("http://qdrant", "", "backgrounds", SPACE, transport=server) as store:
        server.failure = failure
        with pytest.raises(expected):
            await store.get(background("shop/a").name)
        with pytest.raises(expected):
            await store.check()
        server.failure = None
        assert await store.get(background("shop/a").name) is None


async def test_an_overloaded_server_says_when_to_come_back(tmp_path: Path) -> None:
    server = FlakyServer(tmp_path)
    async with connect_server_store("http://qdrant", "", "backgrounds", SPACE, transport=server) as store:
        server.failure = answers(429, {"Retry-After": "7"})
        with pytest.raises(StoreUnreachable) as caught:
            await store.count("shop")

    assert caught.value.retry_after_s == 7


async def test_a_start_without_the_server_fails_clearly() -> None:
    transport = httpx.MockTransport(refuse_connection)

    with pytest.raises(StoreUnreachable, match="does not answer"):
        async with connect_server_store("http://qdrant", "", "backgrounds", SPACE, transport=transport):
            pass


async def test_a_collection_of_another_model_is_refused(tmp_path: Path) -> None:
    server = EdgeServer(tmp_path)
    async with connect_server_store("http://qdrant", "", "backgrounds", SPACE, transport=server):
        pass

    another = VectorSpace("another-model", 8, "eye", 4)
    with pytest.raises(EmbeddingModelChanged, match="a-model"):
        async with connect_server_store("http://qdrant", "", "backgrounds", another, transport=server):
            pass


async def test_a_collection_that_is_not_the_rankers_is_refused(tmp_path: Path) -> None:
    server = EdgeServer(tmp_path)
    photos = {"size": 8, "distance": "Dot", "datatype": "float16"}
    url = "http://qdrant/collections/backgrounds"
    await server.handle_async_request(httpx.Request("PUT", url, content=json.dumps({"vectors": {"photos": photos}})))

    with pytest.raises(StoreDamaged, match="BACKDROP_RANKER_QDRANT_COLLECTION"):
        async with connect_server_store("http://qdrant", "", "backgrounds", SPACE, transport=server):
            pass


async def test_a_ranker_that_loses_the_race_to_make_the_collection_uses_it(tmp_path: Path) -> None:
    server = EdgeServer(tmp_path)
    async with connect_server_store("http://qdrant", "", "backgrounds", SPACE, transport=server):
        pass

    class Late(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/exists"):
                return httpx.Response(200, json={"result": {"exists": False}, "status": "ok", "time": 0})
            return await server.handle_async_request(request)

    async with connect_server_store("http://qdrant", "", "backgrounds", SPACE, transport=Late()) as store:
        assert not await store.count("shop")
