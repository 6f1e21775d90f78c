"""The load while a fault is there: recommendations new and remembered, and a slow import, each call noted."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from backdrop.client import AsyncClient, BackdropError, background
from backdrop.gateway.v1 import gateway_pb2 as pb
from chassis.errors import reason_of

LIBRARY = "chaos"
FULL, REMEMBERED, IMPORT = "recommend", "remembered", "import"
EVERY_S = {FULL: 1.5, REMEMBERED: 0.5, IMPORT: 4.0}
DEADLINE_S = {FULL: 5.0, REMEMBERED: 2.0, IMPORT: 12.0}
LIST_ATTEMPTS = 20
OF_THE_PHOTO = {"NONE_GROUNDED", "NO_SURE_FEATURES"}
"""What degrades an answer without any fault."""
SMALL = {"preset": "PRESET_SQUARE", "size": 256, "count": 1}


@dataclass(frozen=True, slots=True)
class Seen:
    """How a call went; `reason` is empty when it went well."""

    kind: str
    began_s: float
    took_s: float
    reason: str = ""
    degraded: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """It was answered, and nothing had to be done without."""
        return not self.reason and not self.degraded


@dataclass
class Load:
    """Calls that are begun by the clock, whether those before them were answered or not.

    Attributes:
        seen: the calls that have ended.
        acknowledged: names of the backgrounds whose import was.
    """

    client: AsyncClient
    photo: bytes
    new_photos: tuple[bytes, ...]
    picture: bytes
    seen: list[Seen] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Each call has a number of its own."""
        self._numbers = itertools.count()

    async def run(self) -> None:
        """Puts the load on until it is cancelled."""
        calls = {FULL: self._recommend, REMEMBERED: self._remembered, IMPORT: self._import}
        async with asyncio.TaskGroup() as group:
            for kind, call in calls.items():
                group.create_task(self._repeat(kind, call))

    async def lost(self) -> set[str]:
        """Backgrounds whose import was acknowledged, and that are not there."""
        for _ in range(LIST_ATTEMPTS - 1):
            with suppress(BackdropError):
                return self.acknowledged - await self._stored()
            await asyncio.sleep(1)
        return self.acknowledged - await self._stored()

    async def _stored(self) -> set[str]:
        return {each.name async for each in self.client.list_backgrounds(LIBRARY)}

    async def _repeat(self, kind: str, call: Callable[[], Awaitable[tuple[str, ...]]]) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._note(kind, call))
                await asyncio.sleep(EVERY_S[kind])

    async def _note(self, kind: str, call: Callable[[], Awaitable[tuple[str, ...]]]) -> None:
        began_s, reason = time.monotonic(), ""
        degraded: tuple[str, ...] = ()
        try:
            degraded = await call()
        except BackdropError as error:
            reason = f"{error.code.name} {error.reason}"
        self.seen.append(Seen(kind, began_s, time.monotonic() - began_s, reason, degraded))

    async def _recommend(self) -> tuple[str, ...]:
        """Goes through every service: the bytes after a photo's end make another photo of it.

        Photos take turns, so that the one answer that the generator remembers is of another.
        """
        number = next(self._numbers)
        photo = self.new_photos[number % len(self.new_photos)] + number.to_bytes(8, "big")
        answer = await self.client.recommend(LIBRARY, photo, timeout_s=DEADLINE_S[FULL], preview=SMALL)
        return _degraded(answer)

    async def _remembered(self) -> tuple[str, ...]:
        """Its photo's features are known; its answer is, until something is imported."""
        answer = await self.client.recommend(LIBRARY, self.photo, timeout_s=DEADLINE_S[REMEMBERED])
        return _degraded(answer)

    async def _import(self) -> tuple[str, ...]:
        number = next(self._numbers)
        request = background(LIBRARY, f"b{number}", self.picture + number.to_bytes(8, "big"))
        async for outcome in self.client.import_backgrounds(_only(request), timeout_s=DEADLINE_S[IMPORT]):
            if outcome.outcome == pb.OUTCOME_FAILED:
                return (f"refused {reason_of(outcome.error)}",)
            self.acknowledged.add(outcome.name)
            return _degraded(outcome.background)
        return ("no outcome",)


async def _only(request: pb.ImportBackgroundsRequest):  # type: ignore[no-untyped-def]
    yield request


def _degraded(answer: pb.RecommendResponse | pb.Background) -> tuple[str, ...]:
    """What the fault may have done."""
    return tuple(f"{each.stage} {each.reason}" for each in answer.degraded if each.reason not in OF_THE_PHOTO)
