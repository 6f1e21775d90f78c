"""A circuit breaker: what fails again and again is left alone for some seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum

import structlog
from circuitbreaker import CircuitBreaker
from prometheus_client import Gauge

from chassis.errors import BackdropError

OPEN = Gauge("backdrop_circuit_open", "1 from the failures that opened the circuit to the next answer.", ["peer"])

log = structlog.get_logger(__name__)


class Proof(Enum):
    """What an exception says of the peer."""

    FAILED = "failed"
    ALIVE = "alive"
    NOTHING = "nothing"


class Circuit:
    """Opens after failures in a row; then lets one trial through at a time, until one is answered.

    Args:
        peer: what is behind it, for the log and the metric.
        failures: how many in a row open it.
        open_s: how long it lets nothing through, and how long a trial keeps others from being made.
        judge: what an exception proves that ended a call after so many seconds.
        refusal: makes the error of a call that is not let through, from the seconds until one will be.
    """

    def __init__(
        self,
        peer: str,
        failures: int,
        open_s: float,
        judge: Callable[[BaseException, float], Proof],
        refusal: Callable[[float], BackdropError],
    ) -> None:
        self._peer = peer
        self._breaker = CircuitBreaker(failure_threshold=failures, recovery_timeout=open_s)
        self._open_s = open_s
        self._judge = judge
        self._refusal = refusal
        self._trial_ends_at = float("-inf")
        OPEN.labels(peer).set(0)

    def check(self) -> None:
        """Does nothing where a call may be made, and raises the refusal where none may."""
        # The breaker lets every call through once it is half open; a trial of ours keeps the others back.
        trial_left_s = 0.0 if self._breaker.closed else self._trial_ends_at - time.monotonic()
        wait_s = max(self._breaker.open_remaining if self._breaker.opened else 0.0, trial_left_s)
        if wait_s > 0:
            raise self._refusal(wait_s)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Surrounds one call, and learns from how it goes; raises the refusal where none may be made."""
        self.check()
        started = time.monotonic()
        self._trial_ends_at = float("-inf") if self._breaker.closed else started + self._open_s
        try:
            yield
        except BaseException as error:
            self._learn(error, time.monotonic() - started)
            raise
        self._close()

    def _learn(self, error: BaseException, took_s: float) -> None:
        self._trial_ends_at = float("-inf")
        proof = self._judge(error, took_s)
        if proof is Proof.FAILED:
            self._fail(error)
        elif proof is Proof.ALIVE:
            self._close()

    def _fail(self, error: BaseException) -> None:
        was_open = not self._breaker.closed
        with suppress(_Failure), self._breaker:
            raise _Failure
        if self._breaker.opened:
            OPEN.labels(self._peer).set(1)
            log.warning(
                "circuit_open", peer=self._peer, again=was_open, error=type(error).__name__, open_s=self._open_s
            )

    def _close(self) -> None:
        if not self._breaker.closed:
            log.info("circuit_closed", peer=self._peer)
        self._breaker.reset()
        OPEN.labels(self._peer).set(0)


class _Failure(Exception):
    """Tells the breaker of a failure that was judged already."""
