"""The bounded line before the language model."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import Gauge

from services.generator.errors import LlmBusy

RETRY_BUSY_S = 1.0

LLM_CALLS = Gauge("backdrop_generator_llm_calls", "Requests that the language model works on.")
LLM_WAITING = Gauge("backdrop_generator_llm_waiting", "Requests that wait for a place at the language model.")


class WaitingLine:
    """Lets `places` requests at the language model; at most `most_waiting` more wait, first come, first served."""

    def __init__(self, places: int, most_waiting: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._most_waiting = most_waiting
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Waits for a place, and holds it.

        Raises:
            LlmBusy: the line is full.
        """
        if self._places.locked() and self._waiting >= self._most_waiting:
            raise LlmBusy(
                f"{self._waiting} requests wait for the language model already; try again in a moment.",
                retry_after_s=RETRY_BUSY_S,
            )
        await self._wait()
        try:
            with LLM_CALLS.track_inprogress():
                yield
        finally:
            self._places.release()

    async def _wait(self) -> None:
        self._waiting += 1
        try:
            with LLM_WAITING.track_inprogress():
                await self._places.acquire()
        finally:
            self._waiting -= 1
