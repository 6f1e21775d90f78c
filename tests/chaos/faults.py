"""Faults: each strikes a part of the stack for the time of a `with`."""

import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

SLOW_STOPPED_S, SLOW_RUNNING_S = 0.9, 0.1
LINK = "256kbit"


@dataclass(frozen=True)
class Victim:
    """A part of the stack.

    Attributes:
        process: finds its process, which is another one after each restart.
        port: where it listens; None where no network leads to it.
    """

    name: str
    process: Callable[[], psutil.Process]
    port: int | None = None


Fault = Callable[[Victim], AbstractContextManager[None]]


@contextmanager
def killed(victim: Victim) -> Iterator[None]:
    """SIGKILL, once."""
    victim.process().kill()
    yield


@contextmanager
def hung(victim: Victim) -> Iterator[None]:
    """Its process is stopped: it keeps its connections, and accepts new ones, but does nothing."""
    process = victim.process()
    process.suspend()
    try:
        yield
    finally:
        _resume(process)


@contextmanager
def slow(victim: Victim) -> Iterator[None]:
    """It and its processes run a tenth of the time, as on a machine that swaps."""
    processes = _family(victim)
    over = threading.Event()

    def stutter() -> None:
        while not over.wait(SLOW_RUNNING_S):
            for each in processes:
                with suppress(psutil.NoSuchProcess):
                    each.suspend()
            over.wait(SLOW_STOPPED_S)
            for each in processes:
                _resume(each)

    thread = threading.Thread(target=stutter)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for each in processes:
            _resume(each)


@contextmanager
def slow_link(victim: Victim) -> Iterator[None]:
    """Its connections share a few kilobits a second, by the kernel's own shaping (HTB)."""
    _run("tc qdisc add dev lo root handle 1: htb default 10 r2q 10000")
    try:
        _run("tc class add dev lo parent 1: classid 1:10 htb rate 10gbit")
        _run(f"tc class add dev lo parent 1: classid 1:20 htb rate {LINK}")
        for end in ("dport", "sport"):
            _run(f"tc filter add dev lo parent 1: protocol ip u32 match ip {end} {victim.port} 0xffff flowid 1:20")
        yield
    finally:
        _run("tc qdisc del dev lo root")


@contextmanager
def cut_off(victim: Victim) -> Iterator[None]:
    """Packets from and to its port are dropped, without a word to either side."""
    rules = [f"INPUT -i lo -p tcp --{end} {victim.port} -j DROP" for end in ("dport", "sport")]
    for rule in rules:
        _run(f"iptables -A {rule}")
    try:
        yield
    finally:
        for rule in rules:
            _run(f"iptables -D {rule}")


@contextmanager
def out_of_memory(victim: Victim) -> Iterator[None]:
    """It and its processes get no more memory than they have: allocations fail (RLIMIT_AS)."""
    processes = _family(victim)
    before = {each.pid: each.rlimit(resource.RLIMIT_AS) for each in processes}
    for each in processes:
        each.rlimit(resource.RLIMIT_AS, (each.memory_info().vms, before[each.pid][1]))
    try:
        yield
    finally:
        for each in processes:
            with suppress(psutil.NoSuchProcess):
                each.rlimit(resource.RLIMIT_AS, before[each.pid])


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Not a byte is left where the stack writes."""
    hog = folder / "hog"
    with hog.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
    try:
        yield
    finally:
        hog.unlink()


@contextmanager
def clock_jumped(offset: Path, by: str) -> Iterator[None]:
    """The wall clock of every server is off, by what libfaketime reads in a file; the steady clock goes on."""
    offset.write_text(by)
    try:
        yield
    finally:
        offset.write_text("+0")


NETWORK: Mapping[str, Fault] = {"slow link": slow_link, "cut off": cut_off}
"""Faults of what a port leads to; in a network namespace of their own."""
PROCESS: Mapping[str, Fault] = {"killed": killed, "hung": hung, "slow": slow, "out of memory": out_of_memory}


def _family(victim: Victim) -> Sequence[psutil.Process]:
    process = victim.process()
    return [process, *process.children(recursive=True)]


def _resume(process: psutil.Process) -> None:
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGCONT)


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True)
