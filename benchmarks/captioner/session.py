"""One run: the servers, the process of the bare loop and that of the client stand side by side, and take turns."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.captioner import load
from benchmarks.captioner.bare_loop import BareLoop, Configuration
from benchmarks.captioner.processes import free_address, memory_log, running_server
from benchmarks.captioner.results import BARE, INFINITY, ONE_AT_A_TIME, PRODUCT, SERVICE, Level, Overload, Round, Speed
from benchmarks.captioner.targets import Captioner, Infinity, Target

CHECKED_PHOTOS = 8

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Durations:
    """How long each part takes, in seconds."""

    trial: float
    closed: float
    lone: float
    level: float
    overload: float


class Process:
    """A process of its own for Python functions, with what it holds."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def __call__(
        self, function: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        """What `function` returns there."""
        return self._pool.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        """Ends it."""
        self._pool.shutdown()


@dataclass(frozen=True, slots=True)
class Session:
    """What stands ready to be measured.

    Attributes:
        photos: that are sent.
        durations: of each part.
        clients: requests in flight in closed load.
        targets: the servers, by the name of their arm.
        service: the captioner's process.
        client: the process that puts load on the servers.
        bare: the process of the bare loop.
    """

    photos: Sequence[bytes]
    durations: Durations
    clients: int
    targets: Mapping[str, Target]
    service: psutil.Process
    client: Process
    bare: Process

    def agreement(self) -> dict[str, float]:
        """For each server the least cosine of its embeddings with the bare loop's."""
        photos = self.photos[:CHECKED_PHOTOS]
        expected = self.bare(_bare_embed, photos)
        servers = {arm: each for arm, each in self.targets.items() if arm != PRODUCT}
        return {arm: _least_cosine(expected, load.embed(each, photos)) for arm, each in servers.items()}

    def measure_round(self, configuration: Configuration, *, backwards: bool) -> Round:
        """Every arm once; every other round backwards, so that a drift of the machine favours no arm."""
        arms = [BARE, *self.targets]
        speeds = {arm: self._measure(arm, configuration) for arm in (reversed(arms) if backwards else arms)}
        return {arm: speeds[arm] for arm in arms}

    def _measure(self, arm: str, configuration: Configuration) -> Speed:
        if arm == BARE:
            images_per_s = self.bare(_bare_images_per_s, self.photos, configuration, self.durations.closed)
            return Speed(images_per_s, self.bare(_bare_lone, self.photos, self.durations.lone))
        target = self.targets[arm]
        closed = self.client(load.put_closed_load, target, self.photos, self.clients, self.durations.closed)
        lone = self.client(load.put_closed_load, target, self.photos, 1, self.durations.lone)
        return Speed(closed.steady_images_per_s, lone.latencies_ms, closed.client_cores, closed.failures)

    def measure_level(self, times_capacity: float, capacity: float) -> Level:
        """Open load on the captioner."""
        return Level(times_capacity, self._put_open_load(times_capacity * capacity, self.durations.level))

    def measure_overload(self) -> Overload:
        """Twice the capacity, which is measured before and after."""
        before = self._capacity()
        with memory_log(self.service) as memory_mib:
            overload = self._put_open_load(2 * before, self.durations.overload)
        return Overload(max(before, self._capacity()), overload, memory_mib)

    def _capacity(self) -> float:
        arguments = (self.targets[SERVICE], self.photos, self.clients, self.durations.closed)
        return self.client(load.put_closed_load, *arguments).steady_images_per_s

    def _put_open_load(self, calls_per_s: float, seconds: float) -> load.Load:
        return self.client(load.put_open_load, self.targets[SERVICE], self.photos, calls_per_s, seconds)


@contextmanager
def open_session(
    photos: Sequence[bytes],
    durations: Durations,
    clients: int,
    folder: Path,
    peer: tuple[Path, Path] | None,
) -> Iterator[Session]:
    """Starts everything, and stops it afterwards.

    Args:
        photos: to send.
        durations: of each part.
        clients: requests in flight in closed load.
        folder: for the servers' logs.
        peer: the Python of infinity's environment, and the folder of the model that it loads.
    """
    with ExitStack() as stack:
        start = partial(_start, stack, folder, photos[0])
        captioner = Captioner(free_address())
        targets: dict[str, Target] = {SERVICE: captioner, PRODUCT: Captioner(captioner.address, "product")}
        settings = {"BACKDROP_CAPTIONER_PORT": _port(captioner), "BACKDROP_CAPTIONER_LOG_LEVEL": "warning"}
        service = start(captioner, [sys.executable, "-m", "services.captioner"], settings)
        if os.environ["BACKDROP_CAPTIONER_MODEL"].startswith("open_clip:"):
            targets[ONE_AT_A_TIME] = Captioner(free_address())
            module = "benchmarks.captioner.one_at_a_time"
            start(targets[ONE_AT_A_TIME], [sys.executable, "-m", module, _port(targets[ONE_AT_A_TIME])], {})
        if peer:
            python, model = peer
            targets[INFINITY] = Infinity(free_address(), "clip")
            start(targets[INFINITY], _infinity_command(python, model, targets[INFINITY]), {"DO_NOT_TRACK": "1"})
        client, bare = Process(), Process()
        stack.callback(client.close)
        stack.callback(bare.close)
        yield Session(photos, durations, clients, targets, service, client, bare)


def _start(
    stack: ExitStack, folder: Path, photo: bytes, target: Target, command: Sequence[str], settings: Mapping[str, str]
) -> psutil.Process:
    log = folder / f"{type(target).__name__.lower()}-{_port(target)}.log"
    return stack.enter_context(running_server(command, settings, log, lambda: load.embed(target, [photo])))


def _port(target: Target) -> str:
    return target.address.rpartition(":")[2]


def _infinity_command(python: Path, model: Path, target: Target) -> list[str]:
    # On a CPU infinity computes CLIP models in float32, whatever it is told.
    options = {"--model-id": model, "--served-model-name": "clip", "--port": _port(target), "--host": "127.0.0.1"}
    options |= {"--engine": "torch", "--batch-size": 32, "--log-level": "warning"}
    words = [str(word) for option in options.items() for word in option]
    return [str(python.parent / "infinity_emb"), "v2", *words, "--no-bettertransformer"]


def _least_cosine(expected: NDArray[np.float32], rows: NDArray[np.float32]) -> float:
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float((expected * rows).sum(axis=1).min())


# The functions below run in the process of the bare loop, which loads the model when it is first asked for anything.
@cache
def _bare_loop() -> BareLoop:
    return BareLoop()


def find_best_configuration(photos: Sequence[bytes], seconds: float) -> tuple[str, Configuration]:
    """What computes the model, and the bare loop's best configuration."""
    return _bare_loop().runtime, _bare_loop().find_best(photos, seconds)


def _bare_images_per_s(photos: Sequence[bytes], configuration: Configuration, seconds: float) -> float:
    return _bare_loop().images_per_s(photos, configuration, seconds)


def _bare_lone(photos: Sequence[bytes], seconds: float) -> list[float]:
    return _bare_loop().lone_latencies_ms(photos, seconds)


def _bare_embed(photos: Sequence[bytes]) -> NDArray[np.float32]:
    return _bare_loop().embed(photos)
