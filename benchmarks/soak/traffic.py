"""What a shop's backend asks for: photos new and known, feedback on answers, and now and then an import."""

import asyncio
import io
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from PIL import Image, ImageEnhance

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc
from benchmarks.samples import LIBRARY, PRODUCTS
from chassis.channels import MAX_MESSAGE_BYTES
from chassis.errors import reason_of, status_of

STILL, LIVELY = "still", "lively"
"""Two libraries of the same pictures: nothing changes in the one; feedback and imports go to the other."""
MIX = {"remembered answer": 30, "known photo": 30, "new photo": 25, "feedback": 10, "import": 5}
"""How often each kind of call is made, in percent."""
DEADLINE_S = 15.0
KEPT_ANSWERS = 50


@dataclass(frozen=True, slots=True)
class Call:
    """A call that has ended.

    Attributes:
        kind: what was asked for.
        due_s: when it was to begin, in seconds from the start of the traffic.
        took_s: from when it was due.
        reason: of its error; empty when it went well.
        degraded: stage and reason of each part of the answer that had to do without.
    """

    kind: str
    due_s: float
    took_s: float
    reason: str = ""
    degraded: tuple[str, ...] = ()


class Traffic:
    """Makes calls of every kind, and keeps how they went.

    Args:
        stub: of the gateway.
        seed: makes the same calls again.
    """

    def __init__(self, stub: Any, seed: int = 0) -> None:
        self.calls: list[Call] = []
        self.started = time.perf_counter()
        self._stub = stub
        self._chance = random.Random(seed)
        self._photos = [path.read_bytes() for path in sorted(PRODUCTS.glob("*.jpg"))]
        self._pictures = sorted(LIBRARY.glob("*.jpg"))
        self._answers: deque[pb.RecommendResponse] = deque(maxlen=KEPT_ANSWERS)
        self._kinds: dict[str, Callable[[], Awaitable[tuple[str, ...]]]] = {
            "remembered answer": self._remembered,
            "known photo": self._known,
            "new photo": self._new,
            "feedback": self._feedback,
            "import": self._import,
        }

    def now_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def restart(self) -> None:
        """Forgets the calls so far, and begins to count anew."""
        self.calls.clear()
        self.started = time.perf_counter()

    async def call(self, due_s: float) -> None:
        """One call of a kind by chance, counted from when it was due."""
        kind = self._chance.choices(list(MIX), weights=list(MIX.values()))[0]
        reason = ""
        degraded: tuple[str, ...] = ()
        try:
            degraded = await self._kinds[kind]()
        except grpc.aio.AioRpcError as error:
            reason = reason_of(status_of(error))
        except ImportFailed as error:
            reason = str(error)
        self.calls.append(Call(kind, due_s, self.now_s() - due_s, reason, degraded))

    async def import_libraries(self) -> None:
        """Fills both libraries, and asks for each product once."""
        for library in (STILL, LIVELY):
            requests = (_picture(library, path) for path in self._pictures)
            async for outcome in self._stub.ImportBackgrounds(requests):
                _require_imported(outcome)
        for photo in self._photos:
            self._answers.append(await self._recommend(STILL, photo))

    async def _recommend(self, library: str, photo: bytes, limit: int = 5) -> pb.RecommendResponse:
        request = pb.RecommendRequest(parent=f"libraries/{library}", image=photo, limit=limit)
        answer: pb.RecommendResponse = await self._stub.Recommend(request, timeout=DEADLINE_S)
        return answer

    async def _remembered(self) -> tuple[str, ...]:
        return _degraded(await self._recommend(STILL, self._chance.choice(self._photos)))

    async def _known(self) -> tuple[str, ...]:
        """What was read from the photo is known, but not what suits it in the lively library, or so many of it."""
        answer = await self._recommend(LIVELY, self._chance.choice(self._photos), self._chance.randint(3, 12))
        return self._keep(answer)

    async def _new(self) -> tuple[str, ...]:
        changed = await asyncio.to_thread(_changed, self._chance.choice(self._photos), self._chance.random())
        return self._keep(await self._recommend(LIVELY, changed))

    async def _feedback(self) -> tuple[str, ...]:
        answer = self._chance.choice(self._answers)
        first = answer.recommendations[0].background.name
        library = "/".join(first.split("/")[:2])
        request = pb.RecordFeedbackRequest(parent=library, recommendation_id=answer.recommendation_id, chosen=[first])
        await self._stub.RecordFeedback(request, timeout=DEADLINE_S)
        return ()

    async def _import(self) -> tuple[str, ...]:
        """A background is replaced by a picture that was never seen, so the library does not grow."""
        path = self._chance.choice(self._pictures)
        request = _picture(LIVELY, path)
        request.image = await asyncio.to_thread(_changed, request.image, self._chance.random())
        async for outcome in self._stub.ImportBackgrounds(iter([request]), timeout=60):
            _require_imported(outcome)
            return tuple(f"{each.stage} {each.reason}" for each in outcome.background.degraded)
        return ()

    def _keep(self, answer: pb.RecommendResponse) -> tuple[str, ...]:
        self._answers.append(answer)
        return _degraded(answer)


class ImportFailed(Exception):
    """An import was answered by an error; its reason is the text."""


@asynccontextmanager
async def open_traffic(target: str, seed: int = 0) -> AsyncIterator[Traffic]:
    """Traffic to the gateway at `target`; calls are made once each, so that every failure is seen."""
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        yield Traffic(gateway_pb2_grpc.GatewayServiceStub(channel), seed)


async def put_closed_load(traffic: Traffic, clients: int, seconds: float) -> float:
    """`clients` that each make their next call when the last has ended; gives the calls that went well a second."""
    first = len(traffic.calls)
    ends_s = traffic.now_s() + seconds

    async def call_on() -> None:
        while traffic.now_s() < ends_s:
            await traffic.call(traffic.now_s())

    await asyncio.gather(*(call_on() for _ in range(clients)))
    ended = [each for each in traffic.calls[first:] if not each.reason and each.due_s + each.took_s <= ends_s]
    return len(ended) / seconds


async def put_open_load(traffic: Traffic, calls_per_s: float, seconds: float, seed: int = 1) -> None:
    """Calls as a Poisson process, whether or not those before them were answered."""
    chance = random.Random(seed)
    due_s = traffic.now_s()
    ends_s = due_s + seconds
    async with asyncio.TaskGroup() as calls:
        while (due_s := due_s + chance.expovariate(calls_per_s)) < ends_s:
            await asyncio.sleep(due_s - traffic.now_s())
            calls.create_task(traffic.call(due_s))


def _picture(library: str, path: Path) -> pb.ImportBackgroundsRequest:
    name = f"libraries/{library}/backgrounds/{path.stem}"
    return pb.ImportBackgroundsRequest(name=name, image=path.read_bytes(), title=path.stem.replace("-", " "))


def _changed(encoded: bytes, by: float) -> bytes:
    """The picture a little brighter or darker: another one for every cache, and the same one for people."""
    with Image.open(io.BytesIO(encoded)) as picture:
        changed = ImageEnhance.Brightness(picture.convert("RGB")).enhance(0.9 + 0.2 * by)
    out = io.BytesIO()
    changed.save(out, "JPEG", quality=90)
    return out.getvalue()


def _require_imported(outcome: pb.ImportBackgroundsResponse) -> None:
    if outcome.outcome == pb.OUTCOME_FAILED:
        raise ImportFailed(reason_of(outcome.error))


def _degraded(answer: pb.RecommendResponse) -> tuple[str, ...]:
    return tuple(f"{each.stage} {each.reason}" for each in answer.degraded)
