"""gRPC health that reflects real readiness: the application is loaded and what it depends on answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import structlog
from grpc_health.v1 import health, health_pb2
from grpc_health.v1.health_pb2 import HealthCheckResponse
from prometheus_client import Gauge

log = structlog.get_logger(__name__)

READY = Gauge("backdrop_ready", "1 while the server and what it cannot do without answer, else 0.")

Check = Callable[[], Awaitable[None]]

SERVICE_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
LIVENESS = "liveness"
"""What health is asked for by whoever would restart the process: it serves as long as the process answers, whatever its
dependencies do."""


class Readiness:
    """Keeps a health servicer in step with `checks`, each of which raises while its dependency is not ready.

    Args:
        services: full names that health is asked for, beside `""` for the whole server.
        checks: named looks at dependencies.
        interval_s: seconds between two rounds; one look may take as long at most.
    """

    def __init__(self, services: Sequence[str], checks: Mapping[str, Check], interval_s: float) -> None:
        self.servicer = health.aio.HealthServicer()
        self._names = ["", *services]
        self._checks = checks
        self._interval_s = interval_s
        self._problems: dict[str, str] | None = None

    async def open(self) -> None:
        """Says NOT_SERVING, and that it lives, until the first round of checks is through."""
        await self.servicer.set(LIVENESS, HealthCheckResponse.SERVING)
        await self._publish(HealthCheckResponse.NOT_SERVING)

    async def watch(self, status_changed: asyncio.Event) -> None:
        """Looks again and again, at once when `status_changed` is set; runs until it is cancelled."""
        while True:
            status_changed.clear()
            await self.update()
            with suppress(TimeoutError):
                await asyncio.wait_for(status_changed.wait(), self._interval_s)

    async def update(self) -> None:
        """One round of checks; a change of the result is logged and published."""
        results = await asyncio.gather(*(self._problem(check) for check in self._checks.values()))
        problems = {name: text for name, text in zip(self._checks, results, strict=True) if text}
        if problems == self._problems:
            return
        self._problems = problems
        if problems:
            log.warning("not_ready", problems=problems)
        else:
            log.info("ready")
        await self._publish(HealthCheckResponse.NOT_SERVING if problems else HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Turns NOT_SERVING for good."""
        await self.servicer.enter_graceful_shutdown()

    async def _publish(self, status: int) -> None:
        READY.set(status == HealthCheckResponse.SERVING)
        for name in self._names:
            await self.servicer.set(name, status)

    async def _problem(self, check: Check) -> str | None:
        try:
            await asyncio.wait_for(check(), timeout=self._interval_s)
        except TimeoutError:
            return f"no answer in {self._interval_s:g} s"
        except Exception as error:
            return str(error) or type(error).__name__
        return None
