"""Captioners in simulated time: the policy of services/captioner/batching.py, its queue, and cores that are shared.

What a formula does not do: batches leave when they are full, when nothing else is on its way, or when their first item
has waited long enough; decoding and the model compete for the same cores; what is over the limit is refused.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from benchmarks.capacity.load_curve import Fit

MOST_UNDER_WAY = 2
NEVER = float("inf")
ROUNDING_S = 1e-9


@dataclass(frozen=True)
class Captioner:
    """One replica. Work is in milliseconds of one core; a model with a device of its own takes none of the cores.

    Attributes:
        cores: that decoding, the model and the rest share.
        decode_ms: before the model, on one thread.
        after_ms: after it, on one thread.
        batch_ms: of the model for each batch.
        item_ms: of the model for each view of a photo.
        views: of each photo.
        model_threads: that the model computes with.
        own_device: the model computes elsewhere.
        max_batch: BACKDROP_CAPTIONER_MAX_BATCH, and so on.
    """

    cores: float
    decode_ms: float
    after_ms: float
    batch_ms: float
    item_ms: float
    views: int = 2
    model_threads: int = 2
    own_device: bool = False
    max_batch: int = 16
    max_wait_ms: float = 5
    max_pending: int = 64
    decode_threads: int = 2

    @classmethod
    def fitted(cls, fit: Fit) -> "Captioner":
        """The replica that was measured, beside its client: exact for a lone request and for the highest throughput."""
        work_ms = 1000 * fit.cores / fit.capacity_per_s - fit.server_cpu_ms - fit.client_cpu_ms
        lone_ms = fit.lone_model_ms * fit.cores
        batch_ms = max(0.0, (lone_ms - work_ms) / (1 - fit.views / fit.mean_batch))
        item_ms = (work_ms - batch_ms * fit.views / fit.mean_batch) / fit.views
        after_ms = fit.server_cpu_ms + fit.client_cpu_ms - fit.lone_decode_ms
        return cls(fit.cores, fit.lone_decode_ms, after_ms, batch_ms, item_ms, fit.views, model_threads=fit.cores)

    @property
    def capacity_per_s(self) -> float:
        """The most photos a second, all batches full."""
        model_ms = self.batch_ms * self.views / self.max_batch + self.item_ms * self.views
        cores_ms = self.decode_ms + self.after_ms + (0 if self.own_device else model_ms)
        bound = self.cores * 1000 / cores_ms
        return min(bound, 1000 / model_ms) if self.own_device else bound

    def slower(self, times: float) -> "Captioner":
        """The same on cores that are slower so many times."""
        return replace(self, cores=self.cores / times)


@dataclass(slots=True, eq=False)
class Photo:
    """A request in work."""

    came_s: float
    size: float
    views_left: int


@dataclass(slots=True, eq=False)
class _Job:
    left_s: float
    threads: float
    done: Callable[[], None]


@dataclass(eq=False)
class Replica:
    """A captioner with what it has in work; time is given by whoever moves it on."""

    captioner: Captioner
    latencies_s: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    refused: int = 0
    pending: int = 0
    _now_s: float = 0
    _coming: int = 0
    _to_decode: deque[Photo] = field(default_factory=deque)
    _decoding: int = 0
    _queue: deque[tuple[Photo, float]] = field(default_factory=deque)
    _batches: deque[list[Photo]] = field(default_factory=deque)
    _under_way: int = 0
    _jobs: list[_Job] = field(default_factory=list)
    _device: _Job | None = None

    def arrive(self, photo: Photo) -> None:
        """Takes a photo, or refuses it, at the time that the replica was moved to."""
        if self.pending >= self.captioner.max_pending:
            self.refused += 1
            return
        self.pending += 1
        self._coming += 1
        self._to_decode.append(photo)
        self._start_decoding()

    def next_s(self) -> float:
        """When something happens next, if nobody comes."""
        speed = self._speed()
        times = [self._now_s + job.left_s / (speed * job.threads) for job in self._jobs]
        if self._device:
            times.append(self._now_s + self._device.left_s)
        if self._queue and not self._under_way:
            times.append(self._queue[0][1] + self.captioner.max_wait_ms / 1000)
        return min(times, default=NEVER)

    def move_to(self, time_s: float) -> None:
        """Lets time pass, no further than `next_s`, and does what is due then."""
        passed_s, speed = time_s - self._now_s, self._speed()
        self._now_s = time_s
        for job in self._jobs:
            job.left_s -= passed_s * speed * job.threads
        over = [job for job in self._jobs if job.left_s <= ROUNDING_S]
        self._jobs = [job for job in self._jobs if job.left_s > ROUNDING_S]
        if self._device:
            self._device.left_s -= passed_s
            if self._device.left_s <= ROUNDING_S:
                over.append(self._device)
                self._device = None
        for job in over:
            job.done()
        self._collect()

    def _speed(self) -> float:
        """Of each thread: all get alike when there are more than cores."""
        threads = sum(job.threads for job in self._jobs)
        return min(1.0, self.captioner.cores / threads) if threads else 1.0

    def _start_decoding(self) -> None:
        while self._to_decode and self._decoding < self.captioner.decode_threads:
            photo = self._to_decode.popleft()
            self._decoding += 1
            work_s = self.captioner.decode_ms * photo.size / 1000
            self._jobs.append(_Job(work_s, 1, partial(self._decoded, photo)))

    def _decoded(self, photo: Photo) -> None:
        self._decoding -= 1
        self._coming -= 1
        self._queue.extend([(photo, self._now_s)] * photo.views_left)
        self._start_decoding()

    def _collect(self) -> None:
        while self._may_leave():
            size = min(len(self._queue), self.captioner.max_batch)
            self._batches.append([self._queue.popleft()[0] for _ in range(size)])
            self.batches.append(size)
            self._under_way += 1
            if self._under_way == 1:
                self._start_model()

    def _may_leave(self) -> bool:
        if not self._queue or self._under_way >= MOST_UNDER_WAY:
            return False
        if len(self._queue) >= self.captioner.max_batch:
            return True
        waited_s = self._now_s - self._queue[0][1]
        return not self._under_way and (self._coming == 0 or waited_s >= self.captioner.max_wait_ms / 1000 - ROUNDING_S)

    def _start_model(self) -> None:
        batch = self._batches[0]
        work_s = (self.captioner.batch_ms + self.captioner.item_ms * len(batch)) / 1000
        if self.captioner.own_device:
            self._device = _Job(work_s, 1, self._computed)
        else:
            self._jobs.append(_Job(work_s, self.captioner.model_threads, self._computed))

    def _computed(self) -> None:
        self._under_way -= 1
        for photo in self._batches.popleft():
            photo.views_left -= 1
            if not photo.views_left:
                work_s = self.captioner.after_ms / 1000
                self._jobs.append(_Job(work_s, 1, partial(self._answered, photo)))
        if self._batches:
            self._start_model()

    def _answered(self, photo: Photo) -> None:
        self.pending -= 1
        self.latencies_s.append(self._now_s - photo.came_s)


Chooser = Callable[[Sequence[Replica]], int]
"""Which replica a request goes to."""


def round_robin(gateways: int, chance: random.Random) -> Chooser:
    """Each gateway asks one replica after the other; requests come to any of the gateways."""
    turns: list[int] = []

    def choose(replicas: Sequence[Replica]) -> int:
        if not turns:
            turns.extend(chance.randrange(len(replicas)) for _ in range(gateways))
        gateway = chance.randrange(gateways)
        turns[gateway] = (turns[gateway] + 1) % len(replicas)
        return turns[gateway]

    return choose


def least_request(chance: random.Random) -> Chooser:
    """The less busy one of two that are drawn, as gRPC's and Envoy's policy of that name has it."""

    def choose(replicas: Sequence[Replica]) -> int:
        two = chance.choices(range(len(replicas)), k=2)
        return min(two, key=lambda each: replicas[each].pending)

    return choose


def arrivals(per_s: float, seconds: float, chance: random.Random, burst: float = 1) -> Iterator[float]:
    """Times of a Poisson process of bursts, whose sizes are geometric with the mean `burst`: 1 is plain Poisson."""
    time_s = 0.0
    while (time_s := time_s + chance.expovariate(per_s / burst)) < seconds:
        yield time_s
        while chance.random() > 1 / burst:
            yield time_s


def simulate(
    captioners: Sequence[Captioner],
    times_s: Iterator[float],
    choose: Chooser,
    size: Callable[[], float] = lambda: 1.0,
) -> list[Replica]:
    """The replicas after all that came is answered.

    Args:
        captioners: the replicas.
        times_s: when photos come.
        choose: where each goes.
        size: how much there is to decode in each photo, 1 on the mean.
    """
    replicas = [Replica(each) for each in captioners]
    for time_s in times_s:
        for each in replicas:
            _move(each, time_s)
        chosen = replicas[choose(replicas)]
        chosen.arrive(Photo(time_s, size(), chosen.captioner.views))
    for each in replicas:
        _move(each, NEVER)
    return replicas


def _move(replica: Replica, time_s: float) -> None:
    while (next_s := replica.next_s()) <= time_s and next_s < NEVER:
        replica.move_to(next_s)
    if time_s < NEVER:
        replica.move_to(time_s)
