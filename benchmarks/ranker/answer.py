"""The ranker's whole answer, by its own server: the model embeds the texts of each request, and the store is asked."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import numpy as np

from backdrop.ranker.v1 import ranker_pb2 as pb
from backdrop.ranker.v1 import ranker_pb2_grpc
from benchmarks.ranker.store import p50_and_p99
from benchmarks.ranker.synthetic import LIBRARIES, SPACE, Synthetic
from chassis.probe import is_serving
from services.ranker.config import RankerConfig
from services.ranker.edge_store import open_edge_folder
from services.ranker.sentence_model import load_encoder

TEXTS = 5
"""Scenes of one request, as the gateway sends them."""
LIMIT = 10
START_S = 120.0
_PLACES = ("table", "shelf", "counter", "floor", "bench", "windowsill", "desk", "board")
_STUFFS = ("oak", "walnut", "marble", "slate", "linen", "concrete", "terracotta", "brass", "pine", "granite")
_ROOMS = ("kitchen", "studio", "garden", "bathroom", "loft", "workshop", "bedroom", "terrace", "shop", "gym")
_LIGHTS = ("soft light", "morning sun", "evening light", "neon light", "candle light", "cold daylight")


@dataclass(frozen=True)
class Answers:
    """p50 and p99 in milliseconds, by kind of request."""

    times_ms: dict[str, tuple[float, float]]


async def measure(library: Synthetic, folder: Path, requests: int) -> Answers:
    """Whole answers from a store that is filled first, in a new folder."""
    config = RankerConfig(store_path=folder)
    encoder = load_encoder(config)
    space = replace(SPACE, model=encoder.model, dimension=encoder.dimension)
    with open_edge_folder(config) as home:
        async with home.open_space(space) as store:
            await home.use(store)
            for chunk in library.chunks():
                await store.upsert(chunk)
    async with _ranker(folder) as stub:
        kinds: dict[str, Callable[[int], pb.RankBackgroundsRequest]] = {
            "texts that are new": lambda number: _request(library, number),
            "texts that are remembered": lambda number: _request(library, number % 3),
            "new, diversity 0.5": lambda number: _request(library, 100_000 + number, diversity=0.5),
        }
        return Answers({kind: await _timed(stub, make, requests) for kind, make in kinds.items()})


async def _timed(
    stub: "ranker_pb2_grpc.RankerServiceAsyncStub", make: Callable[[int], pb.RankBackgroundsRequest], requests: int
) -> tuple[float, float]:
    times_ms = []
    for number in range(requests + 10):
        request = make(number)
        started = time.perf_counter()
        await stub.RankBackgrounds(request)
        times_ms.append((time.perf_counter() - started) * 1000)
    return p50_and_p99(times_ms[10:])


def _request(library: Synthetic, number: int, diversity: float = 0.0) -> pb.RankBackgroundsRequest:
    seen = library.queries[number % len(library.queries)][SPACE.dimension : SPACE.dimension + SPACE.image_dimension]
    embedding = pb.ImageTextEmbedding(values=seen.tolist(), model=SPACE.image_model)
    return pb.RankBackgroundsRequest(
        parent=f"libraries/library-{number % LIBRARIES}",
        texts=[pb.WeightedText(text=text, weight=1, embedding=embedding) for text in _scenes(number)],
        limit=LIMIT,
        product=pb.Product(palette=[pb.PaletteColor(hex="#a05030", share=1)], aspect_ratio=1.2, embedding=embedding),
        diversity=diversity,
    )


def _scenes(number: int) -> Iterator[str]:
    """Five scenes as the generator writes them, which no other number has."""
    words = np.random.default_rng(number)
    for scene in range(TEXTS):
        stuff, place, room, light = (str(words.choice(each)) for each in (_STUFFS, _PLACES, _ROOMS, _LIGHTS))
        yield f"A {stuff} {place} number {TEXTS * number + scene} in front of a blurred {room}, {light}, calm mood."


@asynccontextmanager
async def _ranker(folder: Path) -> AsyncIterator["ranker_pb2_grpc.RankerServiceAsyncStub"]:
    """The ranker in a process of its own, as it is run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    target = f"127.0.0.1:{port}"
    settings = {"STORE_PATH": str(folder), "PORT": str(port), "IMAGE_MODEL": SPACE.image_model, "LOG_LEVEL": "warning"}
    environment = os.environ | {f"BACKDROP_RANKER_{key}": value for key, value in settings.items()}
    with subprocess.Popen([sys.executable, "-m", "services.ranker"], env=environment) as process:
        try:
            await _wait_until_serving(process, target)
            async with grpc.aio.insecure_channel(target) as channel:
                yield ranker_pb2_grpc.RankerServiceStub(channel)
        finally:
            process.terminate()


async def _wait_until_serving(process: subprocess.Popen[bytes], target: str) -> None:
    async with asyncio.timeout(START_S):
        while not await asyncio.to_thread(is_serving, target):
            if process.poll() is not None:
                raise RuntimeError(f"the ranker ended with exit status {process.returncode}")
            await asyncio.sleep(0.2)
