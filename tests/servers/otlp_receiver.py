"""A real receiver of traces: OTLP over gRPC, on a free port, keeping every span with the service that sent it."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it came, and the service that sent it."""

    service: str
    raw: trace_pb2.Span

    @property
    def name(self) -> str:
        return self.raw.name

    @property
    def attributes(self) -> Mapping[str, Any]:
        return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in self.raw.attributes}

    @property
    def events(self) -> list[str]:
        return [each.name for each in self.raw.events]


@dataclass
class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it gets."""

    endpoint: str = ""
    spans: list[ReceivedSpan] = field(default_factory=list)

    def Export(self, request: Any, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            [service] = [each.value.string_value for each in resource.resource.attributes if each.key == "service.name"]
            self.spans += [ReceivedSpan(service, span) for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace_with(
        self,
        root: Callable[[ReceivedSpan], bool],
        complete: Callable[[list[ReceivedSpan]], bool],
        timeout_s: float = 30,
    ) -> list[ReceivedSpan]:
        """The spans of the trace that the last span belongs to which `root` holds for, once it is `complete`."""
        deadline = time.monotonic() + timeout_s
        found: list[ReceivedSpan] = []
        while time.monotonic() < deadline:
            if roots := [each for each in self.spans if root(each)]:
                found = [each for each in self.spans if each.raw.trace_id == roots[-1].raw.trace_id]
                if complete(found):
                    return found
            time.sleep(0.1)
        raise AssertionError(f"the trace stayed incomplete: {sorted((each.service, each.name) for each in found)}")


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free port of this machine, for the time of the `with`."""
    server = grpc.server(ThreadPoolExecutor(4))
    receiver = Receiver()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    receiver.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield receiver
    finally:
        server.stop(None).wait()
