"""Items of a stream in groups: those that have arrived, never waiting for more."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _End:
    failure: Exception | None


class _Arrivals(Generic[Item]):
    """Reads ahead of the consumer, by one group at most."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._queue: asyncio.Queue[Item | _End] = asyncio.Queue(maxsize=size)

    async def read(self, items: AsyncIterable[Item]) -> None:
        failure = None
        try:
            async for item in items:
                await self._queue.put(item)
        # The consumer raises it; it would wait for ever otherwise.
        except Exception as error:
            failure = error
        await self._queue.put(_End(failure))

    async def next_group(self) -> tuple[list[Item], _End | None]:
        group: list[Item] = []
        arrived = await self._queue.get()
        while not isinstance(arrived, _End):
            group.append(arrived)
            if self._queue.empty() or len(group) == self._size:
                return group, None
            arrived = self._queue.get_nowait()
        return group, arrived


async def group_arrived(items: AsyncIterable[Item], size: int) -> AsyncGenerator[list[Item], None]:
    """Yields the items in their order, in lists of 1 to `size`: all that have arrived while the last were dealt with.

    Close the generator (`contextlib.aclosing`) when leaving early. An error of `items` is raised after the items that
    came before it.
    """
    arrivals: _Arrivals[Item] = _Arrivals(size)
    reader = asyncio.create_task(arrivals.read(items))
    try:
        end = None
        while end is None:
            group, end = await arrivals.next_group()
            if group:
                yield group
        if end.failure is not None:
            raise end.failure
    finally:
        reader.cancel()
