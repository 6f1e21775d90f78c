"""What was measured."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.captioner.bare_loop import Configuration
from benchmarks.captioner.load import Load

BARE, SERVICE, PRODUCT, ONE_AT_A_TIME, INFINITY = (
    "bare loop",
    "captioner",
    "captioner, taxonomy product",
    "one at a time",
    "infinity",
)


@dataclass(frozen=True, slots=True)
class Speed:
    """One arm in one round.

    Attributes:
        images_per_s: with many requests in flight.
        lone_ms: latencies of requests that came alone.
        client_cores: that the client kept busy meanwhile; none for the bare loop.
        failures: errors of calls, by reason.
    """

    images_per_s: float
    lone_ms: list[float]
    client_cores: float = 0
    failures: Mapping[str, int] = field(default_factory=dict)

    @property
    def lone_p50_ms(self) -> float:
        """The median."""
        return statistics.median(self.lone_ms)


Round = Mapping[str, Speed]
"""The arms, one after another, so that a ratio compares what ran within the same minute or two."""


@dataclass(frozen=True, slots=True)
class Level:
    """Open load of some times the capacity."""

    times_capacity: float
    load: Load


@dataclass(frozen=True, slots=True)
class Overload:
    """A long stretch of twice the capacity, and the best throughput before and after it.

    Attributes:
        best_images_per_s: the better of two closed loads, one before and one after.
        load: what came back meanwhile.
        memory_mib: of the captioner's processes together, each second.
    """

    best_images_per_s: float
    load: Load
    memory_mib: list[float]

    @property
    def kept(self) -> float:
        """The throughput as a share of the best."""
        return self.load.images_per_s / self.best_images_per_s

    @property
    def memory_mib_per_min(self) -> float:
        """Slope of the memory in the second half, when queues and pools have long been full."""
        half = self.memory_mib[len(self.memory_mib) // 2 :]
        return 60 * float(np.polyfit(np.arange(len(half)), half, 1)[0]) if len(half) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Results:
    """All of one run.

    Attributes:
        machine: what it ran on.
        model: as the captioner was told.
        runtime: what computed it.
        configuration: the best one of the bare loop.
        agreement: for each arm the least cosine of its embeddings with the bare loop's.
        rounds: the arms' speeds.
        levels: open load on the captioner.
        overload: the long stretch.
    """

    machine: Mapping[str, str]
    model: str
    runtime: str
    configuration: Configuration
    agreement: Mapping[str, float]
    rounds: Sequence[Round]
    levels: Sequence[Level]
    overload: Overload

    @property
    def arms(self) -> list[str]:
        """Their names."""
        return list(self.rounds[0])

    def spread(self, arm: str, value: Callable[[Speed], float]) -> "Spread":
        """A value of an arm, in each round."""
        return Spread([value(each[arm]) for each in self.rounds])

    def ratio(self, arm: str, to: str, value: Callable[[Speed], float]) -> "Spread":
        """A value of an arm as a multiple of another arm's, in each round."""
        return Spread([value(each[arm]) / (value(each[to]) or math.nan) for each in self.rounds])


@dataclass(frozen=True, slots=True)
class Spread:
    """A value that was measured once a round."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """Of all rounds."""
        return statistics.median(self.values)

    def text(self, digits: int) -> str:
        """The median, and the least and the most."""
        return f"{self.median:.{digits}f} ({min(self.values):.{digits}f} to {max(self.values):.{digits}f})"
