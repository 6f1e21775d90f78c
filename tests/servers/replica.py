"""One of several captioners or generators, in a process of its own: `python -m tests.servers.replica NAME COST_S`.

It answers after a fixed time that takes no processor, names its process as the model, and prints its port.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from backdrop.captioner.v1 import captioner_pb2, captioner_pb2_grpc
from backdrop.generator.v1 import generator_pb2, generator_pb2_grpc
from chassis.config import ServerConfig
from chassis.server import Application, start
from tests.servers.peers import TinyCaptioner, TinyGenerator


class Captioner(TinyCaptioner):
    """Reads one photo at a time, as a model does that is busy with it."""

    def __init__(self, cost_s: float) -> None:
        super().__init__()
        self._cost_s = cost_s
        self._model = asyncio.Lock()

    async def ExtractFeatures(self, request: Any, context: Any) -> captioner_pb2.ExtractFeaturesResponse:
        async with self._model:
            await asyncio.sleep(self._cost_s)
        response = await super().ExtractFeatures(request, context)
        response.model = str(os.getpid())
        return response


class Generator(TinyGenerator):
    """Writes one answer at a time."""

    def __init__(self, cost_s: float) -> None:
        super().__init__()
        self._cost_s = cost_s
        self._model = asyncio.Lock()

    async def WriteCaptions(self, request: Any, context: Any) -> generator_pb2.WriteCaptionsResponse:
        async with self._model:
            await asyncio.sleep(self._cost_s)
        response = await super().WriteCaptions(request, context)
        response.model = str(os.getpid())
        return response


KINDS: dict[str, tuple[Any, Any, Any]] = {
    "captioner": (captioner_pb2, Captioner, captioner_pb2_grpc.add_CaptionerServiceServicer_to_server),
    "generator": (generator_pb2, Generator, generator_pb2_grpc.add_GeneratorServiceServicer_to_server),
}


@contextmanager
def replica(name: str, cost_s: float = 0.01) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process of that kind for the time of the `with`, and its port."""
    command = [sys.executable, "-m", "tests.servers.replica", name, str(cost_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def target(*ports: int) -> str:
    """The gRPC target that names several addresses."""
    return "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)


async def _serve(name: str, cost_s: float) -> None:
    pb, servicer, add = KINDS[name]
    service = next(iter(pb.DESCRIPTOR.services_by_name.values())).full_name
    application = Application({service: lambda server: add(servicer(cost_s), server)})
    async with start(ServerConfig(log_level="error"), application) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    asyncio.run(_serve(sys.argv[1], float(sys.argv[2])))
