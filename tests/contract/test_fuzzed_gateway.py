"""Whatever is sent, over HTTP or gRPC, right or wrong: the gateway answers as its description says.

Over HTTP, schemathesis makes the requests from the description; over gRPC, they are messages with any content.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import schemathesis
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.rpc import code_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from backdrop.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from tests.servers.gateway import RunningGateway, running_gateway
from tests.servers.peers import Peers

DESCRIPTION = Path(gateway_pb2.__file__).with_name("openapi.json")
EXAMPLES = 80
"""For each call."""
SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"]
# The library and the background that are there, some that are not, and what is no name.
OAK = gateway_pb2.ImportBackgroundsRequest(name="libraries/shop/backgrounds/oak", image=b"picture")
NAMES = st.sampled_from(
    ["libraries/shop", "libraries/none", "libraries/shop/backgrounds/oak", "libraries/shop/backgrounds/x"]
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """It runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    started: Future[RunningGateway] = Future()
    ended = asyncio.Event()

    async def serve(folder: Path) -> None:
        peers = Peers()
        await peers.start()
        async with running_gateway(peers, folder) as running:
            started.set_result(running)
            await ended.wait()
        await peers.stop_all()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(tmp_path_factory.mktemp("gateway")),))
    thread.start()
    yield started.result(30)
    loop.call_soon_threadsafe(ended.set)
    thread.join(30)
    loop.close()


schema = schemathesis.openapi.from_path(DESCRIPTION)


def test_the_gateway_serves_its_description(gateway: RunningGateway) -> None:
    assert httpx.get(f"{gateway.url}/openapi.json").json() == json.loads(DESCRIPTION.read_text())


def no_server_error(context: Any, response: Any, case: Any) -> None:
    """No status over 499, but for a deadline that was set so short that it passed."""
    hurried = response.status_code == 504 and "Request-Timeout" in (case.headers or {})
    assert response.status_code < 500 or hurried, response.text


@pytest.mark.timeout(600)
@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_makes_the_gateway_fail_or_answer_what_is_not_described(case: Any, gateway: RunningGateway) -> None:
    case.call_and_validate(
        base_url=gateway.url,
        checks=[
            no_server_error,
            status_code_conformance,
            content_type_conformance,
            response_headers_conformance,
            response_schema_conformance,
        ],
    )


def messages(descriptor: Any, depth: int = 3) -> st.SearchStrategy[Any]:
    """Messages with any content; names are often those of something."""
    fields = {each.name: values(each, depth) for each in descriptor.fields if depth or not each.message_type}
    message_class = message_factory.GetMessageClass(descriptor)
    return st.fixed_dictionaries({}, optional=fields).map(lambda content: message_class(**content))


def values(field: Any, depth: int) -> st.SearchStrategy[Any]:
    one = (
        messages(field.message_type, depth - 1)
        if field.message_type
        else NAMES | st.text(max_size=30)
        if field.name in ("parent", "name")
        else SCALARS[field.type]
    )
    return st.lists(one, max_size=3) if field.is_repeated else one


SCALARS = {
    FieldDescriptor.TYPE_STRING: st.text(max_size=30),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=100),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1) | st.integers(0, 10),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_ENUM: st.integers(0, 10),
}
DOCUMENTED = (code_pb2.OK, code_pb2.INVALID_ARGUMENT, code_pb2.NOT_FOUND)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", list(SERVICE.methods), ids=lambda method: method.name)
def test_no_message_makes_the_gateway_fail(method: Any, gateway: RunningGateway) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        list(stub.ImportBackgrounds(iter([OAK])))

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(messages(method.input_type))
        def answers(message: Any) -> None:
            assert code_of(method, getattr(stub, method.name), message) in DOCUMENTED

        answers()


def code_of(method: Any, call: Any, message: Any) -> int:
    """How a call ends."""
    try:
        if method.client_streaming:
            [outcome] = call(iter([message]))
            return int(outcome.error.code)
        answer = call(message)
        list(answer if method.server_streaming else ())
    except grpc.RpcError as error:
        return int(error.code().value[0])
    return code_pb2.OK
