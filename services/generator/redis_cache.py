"""Answers in a Redis or Valkey that replicas share."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import redis.asyncio
import structlog
from prometheus_client import Counter
from pydantic import TypeAdapter, ValidationError
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from services.generator.answer_cache import Answer

KEY_PREFIX = "backdrop:generator:answer:1:"
"""Its number changes with the form of the values."""

TIMEOUT_S = 0.25
"""The most that a request waits for Redis, for reading and for writing."""

PAUSE_S = 3.0
"""How long Redis is left alone after it failed."""

CACHE_ERRORS = Counter("backdrop_generator_cache_errors", "Calls of the shared cache that failed.")

ANSWER = TypeAdapter(Answer)

log = structlog.get_logger(__name__)

T = TypeVar("T")


class RedisCache:
    """Remembers answers for `ttl_s`. A server that is down or slow knows nothing, and is asked again later."""

    def __init__(self, url: str, ttl_s: int) -> None:
        self._client = redis.asyncio.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )
        self._ttl_s = ttl_s
        self._failing = False
        self._paused_until = float("-inf")

    async def get(self, key: str) -> Answer | None:
        """The answer under `key`; None where there is none, or it cannot be had in time."""
        stored = await self._bounded(lambda: self._client.get(KEY_PREFIX + key))
        try:
            return None if stored is None else ANSWER.validate_json(stored)
        except ValidationError:
            log.warning("cache_entry_unreadable", key=KEY_PREFIX + key)
            return None

    async def put(self, key: str, answer: Answer) -> None:
        """Remembers `answer`, where Redis takes it in time."""
        value = ANSWER.dump_json(answer)
        await self._bounded(lambda: self._client.set(KEY_PREFIX + key, value, ex=self._ttl_s))

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _bounded(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """The result of `call`; None where it fails, is late, or would come too soon after a failure."""
        if time.monotonic() < self._paused_until:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                result = await call()
        except (RedisError, OSError, TimeoutError) as error:
            self._fail(error)
            return None
        if self._failing:
            self._failing = False
            log.info("cache_back")
        return result

    def _fail(self, error: Exception) -> None:
        CACHE_ERRORS.inc()
        if not self._failing:
            log.warning("cache_failed", error=str(error) or type(error).__name__, served="without the shared cache")
        self._failing = True
        self._paused_until = time.monotonic() + PAUSE_S
