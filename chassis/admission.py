"""How many requests may be in the house at once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge

from chassis.errors import ResourceExhausted

PENDING = Gauge("backdrop_pending", "Requests that are in work or wait.", ["server"])
REFUSED = Counter("backdrop_refused", "Requests refused because too many were pending.", ["server"])

# Of the latest request in the mean time from one end of a request to the next.
_NEWEST_SHARE = 0.1
_SHORTEST_RETRY_S, _LONGEST_RETRY_S = 0.05, 10.0


class QueueFull(ResourceExhausted):
    """As many requests are pending as the server takes."""

    reason = "QUEUE_FULL"


class Admission:
    """Permits for requests: who gets none is refused at once, with a hint when to come again.

    Args:
        server: its name, for people and metrics.
        most_pending: requests in work or waiting.
        clock: in seconds.
    """

    def __init__(self, server: str, most_pending: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._most_pending = most_pending
        self._clock = clock
        self._pending = 0
        self._last_end = clock()
        self._interval_s = 0.0

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Holds a permit inside the `with`.

        Raises:
            QueueFull: all permits are taken.
        """
        if self._pending >= self._most_pending:
            REFUSED.labels(self._server).inc()
            raise QueueFull(
                f"The {self._server} has {self._pending} requests pending, as many as it takes; try again later.",
                retry_after_s=self._retry_after_s(),
            )
        # Time without any work says nothing of how long work takes.
        if self._pending == 0:
            self._last_end = self._clock()
        self._change(+1)
        try:
            yield
        finally:
            self._change(-1)
            self._note_end()

    def _change(self, by: int) -> None:
        self._pending += by
        PENDING.labels(self._server).set(self._pending)

    def _note_end(self) -> None:
        now = self._clock()
        self._interval_s += _NEWEST_SHARE * (now - self._last_end - self._interval_s)
        self._last_end = now

    def _retry_after_s(self) -> float:
        """About when half of what is pending now will be done."""
        return min(max(self._interval_s * self._pending / 2, _SHORTEST_RETRY_S), _LONGEST_RETRY_S)
