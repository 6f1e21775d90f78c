"""What each process of a stack holds: memory, file descriptors and threads."""

import asyncio
from collections.abc import Callable, Iterator
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
        process: its server, and its place among that server's processes.
        pss_mib: resident memory, of which pages that processes share count in part.
        handles: open file descriptors.
    """

    at_s: float
    process: str
    pid: int
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
    """What every process of the servers holds now."""
    for server in supervisor.processes():
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(server.pid)
            for place, each in enumerate([top, *top.children(recursive=True)]):
                yield _holding(at_s, f"{server.name} {place}" if place else server.name, each)


def _holding(at_s: float, name: str, process: psutil.Process) -> Holding:
    memory = process.memory_full_info()
    return Holding(
        at_s, name, process.pid, memory.rss / MIB, memory.pss / MIB, process.num_fds(), process.num_threads()
    )
