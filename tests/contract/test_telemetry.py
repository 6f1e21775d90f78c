"""What servers tell of themselves: traces to a collector that may be away, logs, metrics."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry import trace

from backdrop.compositor.v1 import compositor_pb2 as pb
from backdrop.compositor.v1.compositor_pb2_grpc import CompositorServiceStub
from chassis import tracing
from chassis.probe import is_serving
from tests.servers.otlp_receiver import receiving
from tests.servers.ports import free_port

MUG = Path(__file__).parent.parent.parent / "samples" / "products" / "coffee-mug.jpg"
CALL = "backdrop.compositor.v1.CompositorService/CutOutProduct"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


@contextmanager
def compositor(tmp_path: Path, **environment: str) -> Iterator[tuple[int, int]]:
    """A compositor as a process: its ports for gRPC and metrics; its log goes to `tmp_path`."""
    port, metrics_port = free_port(), free_port()
    ours = {
        "BACKDROP_COMPOSITOR_PORT": str(port),
        "BACKDROP_COMPOSITOR_METRICS_PORT": str(metrics_port),
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        **environment,
    }
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "services.compositor"]
        process = subprocess.Popen(command, env={**os.environ, **ours}, stderr=log)
    try:
        while not is_serving(f"127.0.0.1:{port}"):
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        yield port, metrics_port
    finally:
        process.terminate()
        process.wait(30)


def cut_out(port: int) -> float:
    """Cuts a product out inside a trace; how long that took, in seconds."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        started = time.perf_counter()
        request = pb.CutOutProductRequest(image=MUG.read_bytes())
        CompositorServiceStub(channel).CutOutProduct(request, timeout=20, metadata=[("traceparent", TRACEPARENT)])
        return time.perf_counter() - started


def test_a_call_goes_on_in_its_callers_trace_and_its_log_line_names_it(tmp_path: Path) -> None:
    attributes = {"OTEL_SERVICE_NAME": "cutter", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}
    with (
        receiving() as collector,
        compositor(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, **attributes) as (port, _),
    ):
        cut_out(port)
        spans = collector.trace_with(lambda span: span.name == CALL, lambda found: len(found) == 2)
    [call] = [each for each in spans if each.name == CALL]
    assert {each.service for each in spans} == {"cutter"}
    assert call.raw.trace_id.hex() == TRACE_ID
    assert call.raw.parent_span_id.hex() == "b7ad6b7169203331"
    assert call.attributes["rpc.response.status_code"] == "OK"
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    [logged] = [line for line in lines if line["event"] == "call"]
    assert (logged["trace_id"], logged["span_id"]) == (TRACE_ID, call.raw.span_id.hex())


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def refusing() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("collector", ["black_hole", "refusing"])
def test_a_collector_that_is_away_costs_no_request_and_does_not_hold_up_the_end(
    collector: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    endpoint = request.getfixturevalue(collector)
    # More spans than wait for the collector at most.
    with compositor(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_MAX_QUEUE_SIZE="8",
                    OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4") as (port, _):  # fmt: skip
        # Far less than the 10 s that an export waits.
        assert max(cut_out(port) for _ in range(20)) < 5
        stopping = time.perf_counter()
    assert time.perf_counter() - stopping < 8


def test_metrics_tell_calls_in_work_and_an_example_of_a_trace(tmp_path: Path) -> None:
    with (
        receiving() as collector,
        compositor(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint) as (port, metrics_port),
    ):
        cut_out(port)
        url = f"http://127.0.0.1:{metrics_port}/metrics"
        scraped = httpx.get(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"}).text
    assert f'backdrop_rpcs_in_flight{{method="/{CALL}"}} 0.0' in scraped
    assert f'trace_id="{TRACE_ID}"' in scraped


def test_without_a_collector_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in tracing.ENDPOINTS:
        monkeypatch.delenv(each, raising=False)
    with tracing.exporting("test"), tracing.span("work") as span:
        assert not span.is_recording()
        assert tracing.ids() == {}
    assert type(trace.get_tracer_provider()).__module__ == "opentelemetry.trace"
