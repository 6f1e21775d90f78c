"""Dynamic batching: what many requests ask of one model is put together, and each gets its own back.

One task owns the queue, so there are no locks. A batch leaves when it is full, or when nothing else is on its way, or
when its first item has waited long enough; so a lone request never waits for company that does not come.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, Self, TypeVar

import structlog
from opentelemetry.trace import Span
from prometheus_client import Counter, Gauge, Histogram

from chassis.errors import DeadlineExceeded, Unavailable
from chassis.networks.errors import ModelFailed
from chassis.tracing import span
from services.captioner.batch_trace import batch_span
from services.captioner.errors import ShuttingDown

log = structlog.get_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

# While one full batch is in the model, the next one may be on its way to it.
_MOST_UNDER_WAY = 2

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
QUEUE_SECONDS = Histogram("backdrop_captioner_queue_seconds", "Waiting for the model.", ["batcher"], buckets=_SECONDS)
MODEL_SECONDS = Histogram("backdrop_captioner_model_seconds", "The model on a batch.", ["batcher"], buckets=_SECONDS)
BATCH_SIZE = Histogram(
    "backdrop_captioner_batch_size", "Items in a batch.", ["batcher"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
QUEUE_LENGTH = Gauge("backdrop_captioner_queue_length", "Items that wait for the model.", ["batcher"])
DROPPED = Counter("backdrop_captioner_dropped", "Items dropped before the model ran.", ["batcher", "why"])
SPLITS = Counter("backdrop_captioner_batch_splits", "Batches split because they failed.", ["batcher"])


@dataclass(frozen=True, slots=True)
class Batched(Generic[Result]):
    """What became of an item.

    Attributes:
        value: its result.
        queue_s: how long it waited for the model.
        model_s: how long the model took for its batch.
        batch_size: items in that batch.
    """

    value: Result
    queue_s: float
    model_s: float
    batch_size: int


@dataclass(slots=True, eq=False)
class _Entry(Generic[Item, Result]):
    item: Item
    deadline: float | None
    queued_at: float
    span: Span
    outcome: asyncio.Future[Batched[Result]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def settle(self, outcome: Batched[Result] | BaseException) -> None:
        """Ends the item, if its caller still waits and it has not ended."""
        if self.outcome.done():
            return
        if isinstance(outcome, BaseException):
            self.outcome.set_exception(outcome)
        else:
            self.outcome.set_result(outcome)


class Batcher(Generic[Item, Result]):
    """Collects items into batches for a model that takes one batch after another.

    Args:
        name: in metrics and logs.
        run_batch: the model; gives a result for each item, in their order. When it raises, the batch is split until the
            poisoned item alone fails; but `Unavailable` fails the whole batch, since then nothing can be computed.
        max_batch: most items in a batch.
        max_wait_s: longest time that an item waits for company.
    """

    def __init__(
        self,
        name: str,
        run_batch: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_batch: int,
        max_wait_s: float,
    ) -> None:
        self._name = name
        self._run_batch = run_batch
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._coming = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._collector = asyncio.create_task(self._collect(), name=f"{self._name} batcher")
        self._collector.add_done_callback(self._give_up)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes no more, and waits for what was taken."""
        self._closed = True
        self._changed.set()
        await self._collector
        await asyncio.gather(*self._under_way)

    async def check(self) -> None:
        """Raises when nothing collects batches any more."""
        if self._collector.done():
            raise RuntimeError(f"the {self._name} batcher has ended")

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Announces items that will be submitted right after, so that a batch may wait for them."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._changed.set()

    async def submit(self, items: Sequence[Item], deadline: float | None = None) -> list[Batched[Result]]:
        """Queues items and waits for all of them; when the caller is cancelled, they are dropped.

        Args:
            items: none of which is computed before those that came earlier.
            deadline: on the event loop's clock; items that still wait then are dropped.

        Raises:
            DeadlineExceeded: it passed before the model ran.
            ShuttingDown: the server is going down.
            BackdropError: what the model raised for one of the items.
        """
        if self._closed or self._collector.done():
            raise _shutting_down()
        now = self._loop.time()
        with span(f"{self._name} through a batch", {"backdrop.items": len(items)}) as waiting:
            entries = [_Entry[Item, Result](item, deadline, now, waiting) for item in items]
            self._queue.extend(entries)
            waiting.add_event("queued", {"backdrop.queue_length": len(self._queue)})
            self._note_change()
            return await asyncio.gather(*(entry.outcome for entry in entries))

    async def _collect(self) -> None:
        while await self._until_batch_may_leave():
            batch = self._take()
            if batch:
                task = asyncio.create_task(self._run(batch))
                self._under_way.add(task)
                task.add_done_callback(self._finish)

    async def _until_batch_may_leave(self) -> bool:
        """False when the batcher was closed and nothing is left."""
        while not self._may_leave():
            if self._closed and not self._queue:
                return False
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._patience_s())
        return True

    def _may_leave(self) -> bool:
        if not self._queue or len(self._under_way) >= _MOST_UNDER_WAY:
            return False
        if len(self._queue) >= self._max_batch:
            return True
        return not self._under_way and (self._coming == 0 or self._closed or self._waited_s() >= self._max_wait_s)

    def _waited_s(self) -> float:
        return self._loop.time() - self._queue[0].queued_at

    def _patience_s(self) -> float | None:
        """How long to wait for a change; None until there is one."""
        if not self._queue or self._under_way:
            return None
        return max(0.0, self._max_wait_s - self._waited_s())

    def _take(self) -> list[_Entry[Item, Result]]:
        """The next batch, without items whose caller has gone or whose deadline has passed."""
        batch: list[_Entry[Item, Result]] = []
        while self._queue and len(batch) < self._max_batch:
            entry = self._queue.popleft()
            if self._is_wanted(entry):
                batch.append(entry)
        self._note_change()
        return batch

    def _is_wanted(self, entry: _Entry[Item, Result]) -> bool:
        if entry.outcome.done():
            DROPPED.labels(self._name, "caller gone").inc()
            return False
        if entry.deadline is not None and self._loop.time() >= entry.deadline:
            DROPPED.labels(self._name, "deadline").inc()
            entry.settle(DeadlineExceeded("The deadline passed while the request waited for the model."))
            return False
        return True

    async def _run(self, batch: Sequence[_Entry[Item, Result]]) -> None:
        started = self._loop.time()
        try:
            with batch_span(self._name, [entry.span for entry in batch]):
                values = await self._run_batch([entry.item for entry in batch])
            if len(values) != len(batch):
                raise ModelFailed("The image-text model lost a part of its batch.")
        except Unavailable as error:
            for entry in batch:
                entry.settle(error)
        except Exception as error:
            await self._split(batch, error)
        else:
            self._settle(batch, values, started)

    async def _split(self, batch: Sequence[_Entry[Item, Result]], error: Exception) -> None:
        if len(batch) == 1:
            batch[0].settle(error)
            return
        SPLITS.labels(self._name).inc()
        log.warning("batch_split", batcher=self._name, batch_size=len(batch), error=repr(error))
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            wanted = [entry for entry in half if self._is_wanted(entry)]
            if wanted:
                await self._run(wanted)

    def _settle(self, batch: Sequence[_Entry[Item, Result]], values: Sequence[Result], started: float) -> None:
        model_s = self._loop.time() - started
        MODEL_SECONDS.labels(self._name).observe(model_s)
        BATCH_SIZE.labels(self._name).observe(len(batch))
        for entry, value in zip(batch, values, strict=True):
            queue_s = started - entry.queued_at
            QUEUE_SECONDS.labels(self._name).observe(queue_s)
            entry.settle(Batched(value, queue_s, model_s, len(batch)))

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._changed.set()

    def _note_change(self) -> None:
        QUEUE_LENGTH.labels(self._name).set(len(self._queue))
        self._changed.set()

    def _give_up(self, collector: asyncio.Task[None]) -> None:
        """Nobody waits for ever for a batcher that has ended."""
        if not collector.cancelled() and (error := collector.exception()):
            log.error("batcher_ended", batcher=self._name, exc_info=error)
        while self._queue:
            self._queue.popleft().settle(_shutting_down())


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("The captioner is going down; try another one.", retry_after_s=1)
