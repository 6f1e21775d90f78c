"""What each process of a stack holds: memory, file descriptors and threads."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from gateway.cli.supervision import Supervisor

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Holding:
    """What a process held at one moment.

    Attributes:
        at_s: on the clock of the traffic.
        process: its server; the children of a server count as one, since a new one may take the place of another.
        pss_mib: resident memory, of which pages that processes share count in part.
        handles: open file descriptors.
    """

    at_s: float
    process: str
    rss_mib: float
    pss_mib: float
    handles: int
    threads: int


async def watch(supervisor: Supervisor, now_s: Callable[[], float], every_s: float, holdings: list[Holding]) -> None:
    """Looks again and again, and adds to `holdings`; runs until it is cancelled."""
    while True:
        holdings += await asyncio.to_thread(lambda: list(look(supervisor, now_s())))
        await asyncio.sleep(every_s)


def look(supervisor: Supervisor, at_s: float) -> Iterator[Holding]:
    """What each server holds now, and what its children hold together."""
    for server in supervisor.processes():
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(server.pid)
            yield _holding(at_s, server.name, [top])
            if children := top.children(recursive=True):
                yield _holding(at_s, f"{server.name}'s children", children)


def _holding(at_s: float, name: str, processes: Sequence[psutil.Process]) -> Holding:
    memory = [each.memory_full_info() for each in processes]
    return Holding(
        at_s,
        name,
        rss_mib=sum(each.rss for each in memory) / MIB,
        pss_mib=sum(each.pss for each in memory) / MIB,
        handles=sum(each.num_fds() for each in processes),
        threads=sum(each.num_threads() for each in processes),
    )
