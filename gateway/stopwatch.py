"""How long the stages of a request took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Histogram

from chassis.tracing import span

STAGE_SECONDS = Histogram("backdrop_gateway_stage_seconds", "Time that a stage of a request took.", ["stage"])


class Stopwatch:
    """Adds up the seconds of named stages."""

    def __init__(self) -> None:
        self.stages_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times the block, whether it ends well or not, and gives it a span."""
        started = time.perf_counter()
        try:
            with span(name):
                yield
        finally:
            seconds = time.perf_counter() - started
            self.stages_s[name] = self.stages_s.get(name, 0.0) + seconds
            STAGE_SECONDS.labels(name).observe(seconds)
