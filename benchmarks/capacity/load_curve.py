"""A captioner under open load: what the simulation is fitted to, and what it is compared with.

`python -m benchmarks.capacity.load_curve` measures one captioner with the photos of the sample products, taxonomy
`product`, and writes reports/load_curve.json, to be given to the simulations.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc
import psutil

from backdrop.captioner.v1 import captioner_pb2 as pb
from backdrop.captioner.v1 import captioner_pb2_grpc
from benchmarks.captioner.load import embed
from benchmarks.captioner.machine import describe_machine
from benchmarks.captioner.processes import free_address, running_server
from benchmarks.captioner.targets import Captioner
from benchmarks.cost import cpu_s
from benchmarks.samples import PRODUCTS, read_products
from chassis.cores import usable_cores
from gateway.cli.console import out

CURVE = Path("reports/load_curve.json")
LEVELS = (0.3, 0.5, 0.7, 0.8, 0.9, 1.1)
LEVEL_S, LONE_S, CLOSED_S, CLIENTS = 15, 6, 10, 32
TIMEOUT_S = 30


@dataclass
class Answers:
    """What came back, milliseconds of each answer; rejections are counted."""

    seconds: float = 0
    offered_per_s: float = 0
    latencies: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    model: list[float] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=list)
    rejected: int = 0
    server_cpu_s: float = 0
    model_cpu_s: float = 0
    client_cpu_s: float = 0

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds


class Client:
    """Sends photos to one captioner."""

    def __init__(self, channel: grpc.aio.Channel, photos: Sequence[bytes], server: psutil.Process) -> None:
        self._stub = captioner_pb2_grpc.CaptionerServiceStub(channel)
        self._requests = [pb.ExtractFeaturesRequest(image=photo, taxonomy="product") for photo in photos]
        self._processes = [[server], server.children(recursive=True), [psutil.Process()]]

    async def closed(self, clients: int, seconds: float) -> Answers:
        """`clients` that each send their next photo as soon as the last is answered."""
        answers, ends = Answers(), time.perf_counter() + seconds

        async def send_on(number: int) -> None:
            while time.perf_counter() < ends:
                await self._send(number, time.perf_counter(), answers)
                number += clients

        return await self._timed(answers, asyncio.gather(*(send_on(each) for each in range(clients))))

    async def open(self, per_s: float, seconds: float) -> Answers:
        """Photos sent as a Poisson process, whether or not those before them were answered."""
        answers, chance = Answers(), random.Random(1)
        begun = 0

        async def send_all() -> None:
            nonlocal begun
            due = time.perf_counter()
            ends = due + seconds
            async with asyncio.TaskGroup() as calls:
                while (due := due + chance.expovariate(per_s)) < ends:
                    await asyncio.sleep(due - time.perf_counter())
                    calls.create_task(self._send(begun, due, answers))
                    begun += 1

        await self._timed(answers, send_all())
        answers.offered_per_s = begun / seconds
        return answers

    async def _timed(self, answers: Answers, work: Awaitable[object]) -> Answers:
        started, cpu = time.perf_counter(), self._cpu_s()
        await work
        answers.seconds = time.perf_counter() - started
        spent = [after - before for before, after in zip(cpu, self._cpu_s(), strict=True)]
        answers.server_cpu_s, answers.model_cpu_s, answers.client_cpu_s = spent
        return answers

    async def _send(self, number: int, due: float, answers: Answers) -> None:
        try:
            response = await self._stub.ExtractFeatures(self._requests[number % len(self._requests)], timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            answers.rejected += 1
            return
        answers.latencies.append((time.perf_counter() - due) * 1000)
        took = response.processing
        answers.decode.append(took.decode_duration.ToMicroseconds() / 1000)
        answers.model.append(took.model_duration.ToMicroseconds() / 1000)
        answers.batch_sizes.append(took.batch_size)

    def _cpu_s(self) -> list[float]:
        return [sum(map(cpu_s, group)) for group in self._processes]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The median, the 95th and the 99th percentile."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}


def summarise(answers: Answers) -> dict[str, float]:
    """Of one level."""
    return {
        "offered_per_s": answers.offered_per_s,
        "answered_per_s": answers.per_s,
        **{f"{name}_ms": value for name, value in percentiles(answers.latencies).items()},
        "rejected": answers.rejected,
        "mean_batch": statistics.mean(answers.batch_sizes),
    }


@dataclass(frozen=True)
class Fit:
    """What the simulation is told of this machine: of a lone request, and of the most that one captioner answers."""

    cores: int
    lone_ms: float
    lone_decode_ms: float
    lone_model_ms: float
    views: int
    server_cpu_ms: float
    model_cpu_ms: float
    client_cpu_ms: float
    capacity_per_s: float
    mean_batch: float


def fit_of(lone: Answers, closed: Answers) -> Fit:
    """From one client, and from many."""
    requests = len(closed.latencies)
    return Fit(
        usable_cores(),
        statistics.median(lone.latencies),
        statistics.median(lone.decode),
        statistics.median(lone.model),
        round(statistics.median(lone.batch_sizes)),
        closed.server_cpu_s * 1000 / requests,
        closed.model_cpu_s * 1000 / requests,
        closed.client_cpu_s * 1000 / requests,
        closed.per_s,
        statistics.mean(closed.batch_sizes),
    )


async def measure(address: str, server: psutil.Process, photos: Sequence[bytes]) -> dict[str, object]:
    """Lone requests, as many as go, and open load."""
    async with grpc.aio.insecure_channel(address) as channel:
        client = Client(channel, photos, server)
        await client.closed(CLIENTS, 3)
        fit = fit_of(await client.closed(1, LONE_S), await client.closed(CLIENTS, CLOSED_S))
        out(str(fit))
        levels = []
        for level in LEVELS:
            levels.append(summarise(await client.open(level * fit.capacity_per_s, LEVEL_S)))
            out(str({name: round(value, 1) for name, value in levels[-1].items()}))
    return {"machine": describe_machine(), "seconds": LEVEL_S, "fit": asdict(fit), "levels": levels}


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity.load_curve", description=__doc__)
    parser.add_argument("--out", type=Path, default=CURVE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = [(PRODUCTS / product.file).read_bytes() for product in read_products()]
        target = Captioner(free_address())
        settings = {"BACKDROP_CAPTIONER_PORT": target.address.split(":")[1], "BACKDROP_CAPTIONER_LOG_LEVEL": "warning"}
        command = [sys.executable, "-m", "services.captioner"]
        log = Path(folder) / "captioner.log"
        with running_server(command, settings, log, lambda: embed(target, photos[:1])) as server:
            measured = asyncio.run(measure(target.address, server, photos))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
