"""What batching promises: each item ends once, with its own result, and one bad item harms no other."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.errors import DeadlineExceeded, Unavailable
from chassis.networks.errors import ModelFailed
from services.captioner.batching import Batcher
from services.captioner.errors import ShuttingDown

GUARD_S = 20


class Poisoned(Exception):
    """What the model raises for a batch with a negative number in it."""


@dataclass
class Model:
    """Doubles numbers, and keeps account of its batches."""

    batches: list[list[int]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_go_on.set()

    async def run(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.may_go_on.wait()
            await asyncio.sleep(0)
            if any(item < 0 for item in items):
                raise Poisoned(f"cannot double {min(items)}")
            return [2 * item for item in items]
        finally:
            self.running -= 1


def batcher_for(model: Model, max_batch: int = 4, max_wait_s: float = 30) -> Batcher[int, int]:
    return Batcher("test", model.run, max_batch=max_batch, max_wait_s=max_wait_s)


@dataclass(frozen=True)
class Request:
    """Items, those below 0 poisoned, and what becomes of their caller.

    Attributes:
        announced: ticks of the event loop between the announcement and the submission.
        cancelled_after: ticks after the submission until the caller goes; None for one that stays.
    """

    items: tuple[int, ...]
    announced: int
    cancelled_after: int | None
    is_late: bool


requests = st.builds(
    Request,
    items=st.lists(st.integers(-2, 50), min_size=1, max_size=5).map(tuple),
    announced=st.integers(0, 4),
    cancelled_after=st.none() | st.integers(0, 6),
    is_late=st.booleans(),
)


async def ticks(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def make(batcher: Batcher[int, int], request: Request) -> list[int]:
    with batcher.coming():
        await ticks(request.announced)
    deadline = asyncio.get_running_loop().time() - 1 if request.is_late else None
    submission = asyncio.ensure_future(batcher.submit(request.items, deadline))
    if request.cancelled_after is not None:
        await ticks(request.cancelled_after)
        submission.cancel()
    return [each.value for each in await submission]


@given(st.lists(requests, max_size=12), st.integers(1, 6), st.sampled_from([0, 0.001, 30]))
@settings(max_examples=300, deadline=None)
def test_each_request_ends_once_with_its_own_result_whatever_becomes_of_others(
    made: list[Request], max_batch: int, max_wait_s: float
) -> None:
    model = Model()

    async def scenario() -> list[list[int] | BaseException]:
        async with asyncio.timeout(GUARD_S), batcher_for(model, max_batch, max_wait_s) as batcher:
            return await asyncio.gather(*(make(batcher, each) for each in made), return_exceptions=True)

    outcomes = asyncio.run(scenario())

    for request, outcome in zip(made, outcomes, strict=True):
        if isinstance(outcome, list):
            assert outcome == [2 * item for item in request.items]
            assert not request.is_late
        elif isinstance(outcome, asyncio.CancelledError):
            assert request.cancelled_after is not None
        elif isinstance(outcome, DeadlineExceeded):
            assert request.is_late
        else:
            assert isinstance(outcome, Poisoned)
            assert min(request.items) < 0
    assert all(len(batch) <= max_batch for batch in model.batches)
    assert model.most_running <= 2
    assert model.running == 0


async def test_a_lone_request_does_not_wait_for_company() -> None:
    model = Model()
    async with asyncio.timeout(GUARD_S), batcher_for(model) as batcher:
        (result,) = await batcher.submit([3])

    assert (result.value, result.batch_size) == (6, 1)
    assert result.queue_s >= 0
    assert result.model_s >= 0


async def test_a_batch_waits_for_what_is_on_its_way() -> None:
    model = Model()
    async with asyncio.timeout(GUARD_S), batcher_for(model) as batcher:
        with batcher.coming():
            first = asyncio.ensure_future(batcher.submit([1]))
            await asyncio.sleep(0.05)
            assert not model.batches
        await batcher.submit([2])
        await first

    assert model.batches == [[1, 2]]


async def test_but_no_longer_than_it_may() -> None:
    model = Model()
    async with asyncio.timeout(GUARD_S), batcher_for(model, max_wait_s=0.02) as batcher:
        with batcher.coming():
            (result,) = await batcher.submit([1])

    assert result.value == 2
    assert result.queue_s >= 0.02


async def test_a_full_batch_leaves_at_once_and_the_next_follows_while_it_is_computed() -> None:
    model = Model()
    model.may_go_on.clear()
    async with asyncio.timeout(GUARD_S), batcher_for(model, max_batch=2) as batcher:
        with batcher.coming():
            submitted = [asyncio.ensure_future(batcher.submit([item])) for item in range(6)]
            await asyncio.sleep(0.02)
            assert model.batches == [[0, 1], [2, 3]]
            model.may_go_on.set()
            await asyncio.gather(*submitted)

    assert model.batches == [[0, 1], [2, 3], [4, 5]]


async def test_what_arrives_while_the_model_works_is_computed_together() -> None:
    model = Model()
    model.may_go_on.clear()
    async with asyncio.timeout(GUARD_S), batcher_for(model) as batcher:
        first = asyncio.ensure_future(batcher.submit([0]))
        await asyncio.sleep(0.01)
        others = [asyncio.ensure_future(batcher.submit([item])) for item in (1, 2, 3)]
        await asyncio.sleep(0.01)
        model.may_go_on.set()
        await asyncio.gather(first, *others)

    assert model.batches == [[0], [1, 2, 3]]


async def test_items_whose_caller_has_gone_or_whose_deadline_has_passed_are_not_computed() -> None:
    model = Model()
    model.may_go_on.clear()
    async with asyncio.timeout(GUARD_S), batcher_for(model, max_batch=8) as batcher:
        now = asyncio.get_running_loop().time()
        first = asyncio.ensure_future(batcher.submit([0]))
        await asyncio.sleep(0.01)
        gone = asyncio.ensure_future(batcher.submit([1, 2]))
        late = asyncio.ensure_future(batcher.submit([3], deadline=now + 0.02))
        last = asyncio.ensure_future(batcher.submit([4], deadline=now + 60))
        await asyncio.sleep(0.03)
        gone.cancel()
        model.may_go_on.set()
        await asyncio.gather(first, last)
        with pytest.raises(DeadlineExceeded):
            await late

    assert model.batches == [[0], [4]]


async def test_a_failing_batch_is_split_until_the_poisoned_item_fails_alone() -> None:
    model = Model()
    async with asyncio.timeout(GUARD_S), batcher_for(model, max_batch=8) as batcher:
        outcomes = await asyncio.gather(
            *(batcher.submit([item]) for item in (0, 1, 2, -1, 4, 5, 6, 7)), return_exceptions=True
        )

    assert [isinstance(each, Poisoned) for each in outcomes] == [item == 3 for item in range(8)]
    assert model.batches[0] == [0, 1, 2, -1, 4, 5, 6, 7]
    assert len(model.batches) == 7  # halves of 4, 2 and 1


async def test_a_model_that_is_away_fails_the_batch_whole() -> None:
    calls = 0

    async def away(items: Sequence[int]) -> list[int]:
        nonlocal calls
        calls += 1
        raise Unavailable("restarting")

    async with asyncio.timeout(GUARD_S), Batcher("test", away, max_batch=8, max_wait_s=0) as batcher:
        outcomes = await asyncio.gather(*(batcher.submit([item]) for item in range(4)), return_exceptions=True)

    assert all(isinstance(each, Unavailable) for each in outcomes)
    assert calls == 1


async def test_a_result_that_is_missing_fails_somebody_rather_than_everybody_waiting() -> None:
    async def forgetful(items: Sequence[int]) -> list[int]:
        return list(items[:-1])

    async with asyncio.timeout(GUARD_S), Batcher("test", forgetful, max_batch=8, max_wait_s=0) as batcher:
        with pytest.raises(ModelFailed):
            await batcher.submit([1])


async def test_closing_finishes_what_was_taken_and_takes_no_more() -> None:
    model = Model()
    model.may_go_on.clear()
    async with asyncio.timeout(GUARD_S):
        async with batcher_for(model, max_batch=2) as batcher:
            taken = [asyncio.ensure_future(batcher.submit([item])) for item in range(7)]
            await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.02, model.may_go_on.set)
        results = await asyncio.gather(*taken)
        with pytest.raises(ShuttingDown):
            await batcher.submit([1])

    assert [each.value for (each,) in results] == [0, 2, 4, 6, 8, 10, 12]


async def test_nobody_waits_for_a_batcher_that_has_ended() -> None:
    batcher = batcher_for(Model())
    async with asyncio.timeout(GUARD_S):
        await batcher.__aenter__()
        await batcher.check()
        batcher._collector.cancel()
        waiting = asyncio.ensure_future(batcher.submit([1]))
        with pytest.raises(ShuttingDown):
            await waiting
        with pytest.raises(RuntimeError):
            await batcher.check()
