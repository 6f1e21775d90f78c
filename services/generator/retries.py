"""Asking again, only where the language model cannot have spent tokens on the first try."""

import random

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
    wait_random_exponential,
)
from tenacity.stop import stop_base

from chassis.deadlines import Deadline
from chassis.tracing import current_span
from services.generator.llm_failures import never_sent, retry_after_s

ATTEMPTS = 3
JITTER = 0.1
"""Share of the wait that a server asks for, added at most, so that callers do not come back all at once."""

log = structlog.get_logger(__name__)

_after_no_connection = wait_random_exponential(multiplier=0.2, max=1)


def retrying(deadline: Deadline) -> AsyncRetrying:
    """Asks again where nothing was sent, or where the server says when to come back and that is in time.

    A time-out or an answer that broke off is never asked for again.
    """
    return AsyncRetrying(
        retry=retry_if_exception(_is_safe),
        wait=_wait_s,
        stop=stop_any(stop_after_attempt(ATTEMPTS), _TooLate(deadline)),
        before_sleep=_log_wait,
        reraise=True,
    )


def _is_safe(error: BaseException) -> bool:
    return never_sent(error) or retry_after_s(error) is not None


def _wait_s(state: RetryCallState) -> float:
    asked_s = retry_after_s(_error(state))
    return _after_no_connection(state) if asked_s is None else asked_s * random.uniform(1, 1 + JITTER)


class _TooLate(stop_base):
    """Stops where the wait would end after the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __call__(self, retry_state: RetryCallState) -> bool:
        return retry_state.upcoming_sleep >= self._deadline.left_s


def _log_wait(state: RetryCallState) -> None:
    facts: dict[str, str | float] = {"error": type(_error(state)).__name__, "wait_s": round(state.upcoming_sleep, 2)}
    log.info("retrying", **facts)
    current_span().add_event("retry", facts)


def _error(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    if error is None:
        raise RuntimeError("asked about an attempt that did not fail")
    return error
