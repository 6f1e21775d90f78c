"""Equal work is done once, for as long as somebody waits for it."""

import asyncio

import pytest

from chassis.coalescing import Coalescing
from chassis.deadlines import Deadline


async def test_the_work_sees_the_deadline_of_the_most_patient() -> None:
    coalescing: Coalescing[float] = Coalescing("test")

    async def work(deadline: Deadline) -> float:
        await asyncio.sleep(0.05)
        return deadline.left_s

    results = await asyncio.gather(*(coalescing.join("key", work, Deadline(seconds)) for seconds in (1, 60, 5)))

    assert {left_s > 55 for left_s, _ in results} == {True}
    assert [joined for _, joined in results] == [False, True, True]


async def test_other_keys_do_not_wait_for_each_other() -> None:
    coalescing: Coalescing[str] = Coalescing("test")
    met = asyncio.Barrier(2)

    async def work(_: Deadline) -> str:
        await met.wait()
        return "done"

    results = await asyncio.gather(*(coalescing.join(key, work, Deadline(5)) for key in ("one", "other")))
    assert results == [("done", False)] * 2


async def test_work_that_all_left_is_begun_anew_for_the_next() -> None:
    coalescing: Coalescing[int] = Coalescing("test")
    begun = 0

    async def work(_: Deadline) -> int:
        nonlocal begun
        begun += 1
        await asyncio.sleep(60 if begun == 1 else 0)
        return begun

    with pytest.raises(TimeoutError):
        await coalescing.join("key", work, Deadline(0.02))
    assert await coalescing.join("key", work, Deadline(5)) == (2, False)
