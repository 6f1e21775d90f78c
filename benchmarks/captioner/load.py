"""The client: puts load on a server and notes what comes back. It runs in a process of its own and does little else."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.captioner.targets import Answer, Call, Target

TIMEOUT_S = 30
WARM_UP_S = 1.0
"""Load that is put on before anything counts, so that queues are as full as they get."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came back.

    Attributes:
        seconds: that were counted.
        offered_per_s: calls begun a second.
        answered_s: when each answer came.
        latencies_ms: of each call that was answered; in open load from the time that it was due.
        rejections_ms: of each call that was rejected.
        hinted: rejections that say when to try again.
        failures: other errors, by their reason.
        client_cores: how many cores the client itself kept busy.
    """

    seconds: float
    offered_per_s: float
    answered_s: list[float]
    latencies_ms: list[float]
    rejections_ms: list[float]
    hinted: int
    failures: dict[str, int]
    client_cores: float

    @property
    def images_per_s(self) -> float:
        """Answers a second."""
        return len(self.latencies_ms) / self.seconds

    @property
    def steady_images_per_s(self) -> float:
        """The slope of the number of answers over time: answers come in batches, and a count would cut through them."""
        if len(set(self.answered_s)) < 2:
            return self.images_per_s
        return float(np.polyfit(np.array(self.answered_s) - self.answered_s[0], np.arange(len(self.answered_s)), 1)[0])

    @property
    def rejected_share(self) -> float:
        """Of all calls that ended."""
        ended = len(self.latencies_ms) + len(self.rejections_ms) + sum(self.failures.values())
        return len(self.rejections_ms) / max(1, ended)


def put_closed_load(target: Target, photos: Sequence[bytes], clients: int, seconds: float) -> Load:
    """`clients` that each send their next photo as soon as the last is answered."""

    async def put() -> Load:
        async with _recording(target, seconds) as record:
            requests = itertools.cycle([target.request(photo) for photo in photos])

            async def send_on() -> None:
                while not record.is_over():
                    await record.send(next(requests), time.perf_counter())

            await asyncio.gather(*(send_on() for _ in range(clients)))
        return record.load()

    return asyncio.run(put())


def put_open_load(target: Target, photos: Sequence[bytes], calls_per_s: float, seconds: float) -> Load:
    """Photos sent as a Poisson process, whether or not those before them were answered."""

    async def put() -> Load:
        async with _recording(target, seconds) as record:
            requests = itertools.cycle([target.request(photo) for photo in photos])
            chance = random.Random(0)
            due = time.perf_counter()
            async with asyncio.TaskGroup() as calls:
                while not record.is_over():
                    due += chance.expovariate(calls_per_s)
                    await asyncio.sleep(due - time.perf_counter())
                    calls.create_task(record.send(next(requests), due))
        return record.load()

    return asyncio.run(put())


def embed(target: Target, photos: Sequence[bytes], timeout_s: float = TIMEOUT_S) -> NDArray[np.float32]:
    """A row for each photo, asked for one after another.

    Raises:
        ConnectionError: the server does not answer, or not with an embedding.
    """

    async def ask() -> list[Sequence[float]]:
        async with target.open(timeout_s) as call:
            answers = [await call(target.request(photo)) for photo in photos]
        for answer in answers:
            if answer.outcome != "answered":
                raise ConnectionError(f"{target.address} does not answer: {answer.outcome} {answer.reason}")
        return [target.embedding(answer.payload) for answer in answers]

    return np.asarray(asyncio.run(ask()), dtype=np.float32)


@dataclass
class _Record:
    """Calls that ended in the time that counts."""

    call: Call
    begins: float
    ends: float
    begun: int = 0
    answered_s: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    rejections_ms: list[float] = field(default_factory=list)
    hinted: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    client_cores: float = 0

    def is_over(self) -> bool:
        return time.perf_counter() >= self.ends

    async def send(self, request: bytes, due: float) -> None:
        if due >= self.begins:
            self.begun += 1
        answer = await self.call(request)
        ended = time.perf_counter()
        if self.begins <= ended < self.ends:
            self._note(answer, due, ended)

    def _note(self, answer: Answer, due: float, ended: float) -> None:
        took_ms = (ended - due) * 1000
        if answer.outcome == "answered":
            self.answered_s.append(ended - self.begins)
            self.latencies_ms.append(took_ms)
        elif answer.outcome == "rejected":
            self.rejections_ms.append(took_ms)
            self.hinted += answer.hinted
        else:
            self.failures[answer.reason] += 1

    def load(self) -> Load:
        seconds = self.ends - self.begins
        return Load(
            seconds,
            self.begun / seconds,
            self.answered_s,
            self.latencies_ms,
            self.rejections_ms,
            self.hinted,
            dict(self.failures),
            self.client_cores,
        )


@asynccontextmanager
async def _recording(target: Target, seconds: float) -> AsyncIterator[_Record]:
    async with target.open(TIMEOUT_S) as call:
        begins = time.perf_counter() + WARM_UP_S
        record = _Record(call, begins, begins + seconds)
        started, cpu_started = time.perf_counter(), time.process_time()
        yield record
        record.client_cores = (time.process_time() - cpu_started) / (time.perf_counter() - started)
