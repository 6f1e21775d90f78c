"""Equal requests at the same time share one piece of work."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client import Counter

from chassis.deadlines import Deadline
from chassis.tracing import current_span

COALESCED = Counter("backdrop_coalesced", "Requests that waited for the result of an equal one.", ["server"])

T = TypeVar("T")


@dataclass
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    deadline: Deadline
    waiters: int = 0


class Coalescing(Generic[T]):
    """Runs work once for all who ask for it while it runs; it is cancelled when none of them waits any more.

    Args:
        server: its name, for metrics.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def join(self, key: Hashable, work: Callable[[Deadline], Awaitable[T]], deadline: Deadline) -> tuple[T, bool]:
        """The result of the work under `key`, and whether somebody else had begun it.

        Args:
            key: what makes requests equal.
            work: begun when there is none under the key; gets the deadline of the most patient waiter.
            deadline: until when this caller waits.

        Raises:
            TimeoutError: the deadline passed.
            Exception: that of the work, for everybody.
        """
        flight = self._flights.get(key)
        joined = flight is not None
        if flight is None:
            flight = self._begin(key, work)
        else:
            COALESCED.labels(self._server).inc()
            current_span().add_event("joined equal work")
        flight.deadline.extend_to(deadline)
        flight.waiters += 1
        try:
            async with asyncio.timeout(deadline.left_s):
                return await asyncio.shield(flight.task), joined
        finally:
            flight.waiters -= 1
            if not flight.waiters:
                flight.task.cancel()
                self._end(key, flight)

    def _begin(self, key: Hashable, work: Callable[[Deadline], Awaitable[T]]) -> _Flight[T]:
        deadline = Deadline(0)

        async def run() -> T:
            return await work(deadline)

        flight = _Flight(asyncio.create_task(run()), deadline)
        self._flights[key] = flight
        flight.task.add_done_callback(lambda task: self._land(key, flight))
        return flight

    def _land(self, key: Hashable, flight: _Flight[T]) -> None:
        self._end(key, flight)
        if not flight.task.cancelled():
            # Looked at, so that asyncio does not report an error that nobody waited for.
            flight.task.exception()

    def _end(self, key: Hashable, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
