"""The chassis' promises, kept by a real server with a tiny servicer."""

import asyncio
import contextlib
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from structlog.testing import capture_logs

from backdrop.captioner.v1 import captioner_pb2, captioner_pb2_grpc
from chassis import interceptors, validation
from chassis.channels import open_channel
from chassis.config import ServerConfig
from chassis.errors import FieldViolation, NotFound, from_rpc, reason_of, status_of, violations_of
from chassis.health import LIVENESS
from chassis.server import Application, PortTaken, RunningServer, start

SERVICE = "backdrop.captioner.v1.CaptionerService"
GOOD_REQUEST = captioner_pb2.ExtractFeaturesRequest(image=b"photo", taxonomy="product")


class TinyCaptioner(captioner_pb2_grpc.CaptionerServiceServicer):
    """Answers, raises, crashes or takes its time, as its request's taxonomy says."""

    def __init__(self) -> None:
        self.busy = asyncio.Event()
        self.connections: set[str] = set()

    async def ExtractFeatures(self, request: captioner_pb2.ExtractFeaturesRequest, context: Any) -> Any:
        self.connections.add(context.peer())
        if request.taxonomy == "unknown":
            raise NotFound("no such taxonomy")
        if request.taxonomy == "crash":
            raise ValueError("the secret inside")
        if request.taxonomy == "slow":
            self.busy.set()
            await asyncio.sleep(0.5)
        return captioner_pb2.ExtractFeaturesResponse(model="tiny")


@pytest.fixture
def captioner() -> TinyCaptioner:
    return TinyCaptioner()


@pytest.fixture
def application(captioner: TinyCaptioner) -> Application:
    return Application({SERVICE: lambda s: captioner_pb2_grpc.add_CaptionerServiceServicer_to_server(captioner, s)})


@pytest.fixture
async def server(application: Application) -> AsyncIterator[RunningServer]:
    async with start(ServerConfig(health_interval_s=0.05), application) as running:
        yield running


@pytest.fixture
async def channel(server: RunningServer) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(f"127.0.0.1:{server.port}", SERVICE) as opened:
        yield opened


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Any:
    return captioner_pb2_grpc.CaptionerServiceStub(channel)


async def fail(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


async def test_a_bad_request_is_refused_before_the_servicer(stub: Any) -> None:
    error = await fail(stub.ExtractFeatures(captioner_pb2.ExtractFeaturesRequest(taxonomy="product")))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violations_of(status_of(error)) == [
        FieldViolation("image", "send the bytes of an encoded photo (JPEG, PNG, WebP), 1 byte to 32 MiB")
    ]


async def test_an_error_of_the_domain_keeps_its_code_and_reason(stub: Any) -> None:
    error = await fail(stub.ExtractFeatures(captioner_pb2.ExtractFeaturesRequest(image=b"x", taxonomy="unknown")))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert reason_of(status_of(error)) == "NOT_FOUND"
    assert isinstance(from_rpc(error, "captioner"), NotFound)


async def test_a_crash_tells_the_client_nothing_but_where_to_look(stub: Any) -> None:
    with capture_logs() as logs:
        call = stub.ExtractFeatures(
            captioner_pb2.ExtractFeaturesRequest(image=b"x", taxonomy="crash"), metadata=(("x-request-id", "abc-123"),)
        )
        error = await fail(call)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (error.details() or "")
    assert "abc-123" in (error.details() or "")
    assert any(line["event"] == "call_crashed" and line.get("exc_info") for line in logs)
    assert (await stub.ExtractFeatures(GOOD_REQUEST)).model == "tiny"


async def test_the_request_id_comes_back_and_one_is_made_where_it_is_unfit(stub: Any) -> None:
    async def id_for(sent: str) -> str:
        call = stub.ExtractFeatures(GOOD_REQUEST, metadata=(("x-request-id", sent),))
        await call
        return dict(await call.trailing_metadata())["x-request-id"]

    assert await id_for("order-7") == "order-7"
    assert await id_for("two words; rm") not in ("two words; rm", "")


async def test_bytes_that_are_no_message_are_refused_and_the_next_call_works(application: Application) -> None:
    async with (
        start(ServerConfig(), application) as server,
        open_channel(f"127.0.0.1:{server.port}", SERVICE) as channel,
    ):
        stub: Any = captioner_pb2_grpc.CaptionerServiceStub(channel)
        raw: Any = channel.unary_unary(f"/{SERVICE}/ExtractFeatures")
        error = await fail(raw(b"\xff\xff\xff"))
        assert (error.code(), reason_of(status_of(error))) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
        assert (await stub.ExtractFeatures(GOOD_REQUEST)).model == "tiny"


async def test_no_memory_for_a_request_is_told_as_such(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        start(ServerConfig(), application) as server,
        open_channel(f"127.0.0.1:{server.port}", SERVICE) as channel,
    ):
        stub: Any = captioner_pb2_grpc.CaptionerServiceStub(channel)

        def no_memory(request: Any) -> None:
            raise MemoryError

        monkeypatch.setattr(validation, "check", no_memory)
        monkeypatch.setattr(interceptors.log, "error", no_memory)
        error = await fail(stub.ExtractFeatures(GOOD_REQUEST))
        assert (error.code(), reason_of(status_of(error))) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OUT_OF_MEMORY")


async def test_a_message_over_the_limit_is_refused_and_the_next_works(application: Application) -> None:
    async with (
        start(ServerConfig(max_message_mib=1), application) as small,
        open_channel(f"127.0.0.1:{small.port}", SERVICE) as channel,
    ):
        stub: Any = captioner_pb2_grpc.CaptionerServiceStub(channel)
        huge = captioner_pb2.ExtractFeaturesRequest(image=bytes(2**21), taxonomy="product")
        assert (await fail(stub.ExtractFeatures(huge))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await stub.ExtractFeatures(GOOD_REQUEST)).model == "tiny"


async def test_reflection_describes_the_service(server: RunningServer) -> None:
    def describe() -> tuple[list[str], list[str]]:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            file = database.FindFileContainingSymbol(SERVICE)
            return list(database.get_services()), [method.name for method in file.service[0].method]

    services, methods = await asyncio.to_thread(describe)
    assert SERVICE in services
    assert "ExtractFeatures" in methods


async def test_health_follows_what_the_server_depends_on(captioner: TinyCaptioner, application: Application) -> None:
    broken = True

    async def check() -> None:
        if broken:
            raise ConnectionError("peer is down")

    checked = Application(application.services, {"peer": check})
    async with start(ServerConfig(health_interval_s=0.02), checked) as server:
        assert await status_becomes(server.port, "NOT_SERVING")
        broken = False
        assert await status_becomes(server.port, "SERVING")
        broken = True
        assert await status_becomes(server.port, "NOT_SERVING")
        assert await status_becomes(server.port, "SERVING", of=LIVENESS)


async def test_health_looks_at_once_when_the_application_says_so(application: Application) -> None:
    broken, status_changed = False, asyncio.Event()

    async def check() -> None:
        if broken:
            raise ConnectionError("the model has ended")

    checked = Application(application.services, {"model": check}, status_changed)
    async with start(ServerConfig(health_interval_s=3600), checked) as server:
        assert await status_becomes(server.port, "SERVING")
        broken = True
        status_changed.set()
        assert await status_becomes(server.port, "NOT_SERVING")


async def test_a_check_that_hangs_is_a_check_that_fails(application: Application) -> None:
    async def check() -> None:
        await asyncio.sleep(60)

    async with start(ServerConfig(health_interval_s=0.02), Application(application.services, {"p": check})) as server:
        assert await status_becomes(server.port, "NOT_SERVING")


async def test_at_shutdown_health_turns_and_calls_in_flight_finish(
    captioner: TinyCaptioner, application: Application
) -> None:
    slow_request = captioner_pb2.ExtractFeaturesRequest(image=b"x", taxonomy="slow")
    config = ServerConfig(shutdown_delay_s=2, health_interval_s=0.05)
    async with contextlib.AsyncExitStack() as channels:
        async with start(config, application) as server:
            channel = await channels.enter_async_context(open_channel(f"127.0.0.1:{server.port}", SERVICE))
            assert await status_becomes(server.port, "SERVING")
            stub: Any = captioner_pb2_grpc.CaptionerServiceStub(channel)
            in_flight = asyncio.ensure_future(stub.ExtractFeatures(slow_request))
            await captioner.busy.wait()
            turning = asyncio.ensure_future(status_becomes(server.port, "NOT_SERVING"))
        assert await turning
        assert (await in_flight).model == "tiny"
        assert (await fail(stub.ExtractFeatures(GOOD_REQUEST))).code() is grpc.StatusCode.UNAVAILABLE


async def test_clients_connect_anew_at_the_age_that_is_set_and_calls_in_flight_finish(
    captioner: TinyCaptioner, application: Application
) -> None:
    slow_request = captioner_pb2.ExtractFeaturesRequest(image=b"x", taxonomy="slow")
    async with (
        start(ServerConfig(max_connection_age_s=0.1), application) as server,
        open_channel(f"127.0.0.1:{server.port}", SERVICE) as channel,
        asyncio.timeout(10),
    ):
        stub: Any = captioner_pb2_grpc.CaptionerServiceStub(channel)
        assert (await stub.ExtractFeatures(slow_request)).model == "tiny"
        while len(captioner.connections) < 2:
            await stub.ExtractFeatures(GOOD_REQUEST)


async def status_becomes(port: int, wanted: str, of: str = SERVICE) -> bool:
    """Health takes on a status within five seconds."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(5):
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            response = await stub.Check(health_pb2.HealthCheckRequest(service=of))
            if health_pb2.HealthCheckResponse.ServingStatus.Name(response.status) == wanted:
                return True
            await asyncio.sleep(0.02)


async def test_two_servers_never_share_a_port(server: RunningServer, application: Application) -> None:
    with pytest.raises(PortTaken, match=str(server.port)):
        async with start(ServerConfig(port=server.port), application):
            pass


async def test_metrics_count_calls_by_method_and_code(application: Application, unused_tcp_port: int) -> None:
    async with start(ServerConfig(metrics_port=unused_tcp_port), application) as server:
        async with open_channel(f"127.0.0.1:{server.port}", SERVICE) as channel:
            await captioner_pb2_grpc.CaptionerServiceStub(channel).ExtractFeatures(GOOD_REQUEST)
        url = f"http://127.0.0.1:{unused_tcp_port}/metrics"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read().decode())
    line = f'backdrop_rpcs_total{{code="OK",method="/{SERVICE}/ExtractFeatures"}}'
    assert line in page
