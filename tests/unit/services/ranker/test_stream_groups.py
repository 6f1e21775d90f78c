import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from services.ranker.stream_groups import group_arrived


async def stream(*items: int) -> AsyncIterator[int]:
    for item in items:
        yield item


async def test_items_that_are_there_come_in_full_groups_and_in_order() -> None:
    groups = []
    async for group in group_arrived(stream(*range(10)), size=4):
        groups.append(group)
        await asyncio.sleep(0.01)

    assert [item for group in groups for item in group] == list(range(10))
    assert max(len(group) for group in groups) == 4


async def test_a_lone_item_does_not_wait_for_others() -> None:
    more = asyncio.Event()

    async def slow_stream() -> AsyncIterator[str]:
        yield "lone"
        await more.wait()
        yield "late"

    async with aclosing(group_arrived(slow_stream(), size=16)) as groups:
        assert await asyncio.wait_for(anext(groups), timeout=10) == ["lone"]
        more.set()
        assert await asyncio.wait_for(anext(groups), timeout=10) == ["late"]


async def test_an_empty_stream_has_no_groups() -> None:
    assert [group async for group in group_arrived(stream(), size=4)] == []


async def test_a_broken_stream_gives_what_came_before_and_then_its_error() -> None:
    async def broken_stream() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError("gone")

    groups = group_arrived(broken_stream(), size=4)

    assert await anext(groups) == [1]
    with pytest.raises(ConnectionError, match="gone"):
        await anext(groups)


async def test_it_reads_no_further_ahead_than_one_group() -> None:
    sent = 0

    async def endless_stream() -> AsyncIterator[int]:
        nonlocal sent
        while True:
            sent += 1
            yield sent

    async with aclosing(group_arrived(endless_stream(), size=4)) as groups:
        await anext(groups)
        await asyncio.sleep(0.02)

    assert sent <= 10


async def test_leaving_early_stops_the_reading() -> None:
    async with aclosing(group_arrived(stream(*range(100)), size=4)) as groups:
        await anext(groups)
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == {asyncio.current_task()}
