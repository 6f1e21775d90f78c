"""The servers' processes: started, waited for, watched and stopped."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

START_S = 900
STOP_S = 20
MIB = 2**20


def free_address() -> str:
    """An address on this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def running_server(
    command: Sequence[str], environment: Mapping[str, str], log: Path, check: Callable[[], object]
) -> Iterator[psutil.Process]:
    """A server that answers, stopped afterwards.

    Args:
        command: the program and its arguments.
        environment: added to this process's own.
        log: where it writes.
        check: raises ConnectionError for as long as the server does not answer.

    Raises:
        ChildProcessError: it ended, or did not answer in time; the message has the end of its log.
    """
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=output) as process,
    ):
        try:
            _wait(process, log, check)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            process.kill()


def _wait(process: subprocess.Popen[bytes], log: Path, check: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + START_S
    while True:
        try:
            check()
        except ConnectionError as error:
            if process.poll() is not None or time.monotonic() > give_up_at:
                end = "\n".join(log.read_text().splitlines()[-20:])
                raise ChildProcessError(f"{error}; {log.name} ends with:\n{end}") from error
            time.sleep(0.5)
        else:
            return


@contextmanager
def memory_log(process: psutil.Process) -> Iterator[list[float]]:
    """Each second the resident memory of `process` and its children together, in MiB."""
    samples: list[float] = []
    stopped = threading.Event()

    def sample() -> None:
        while not stopped.wait(1):
            samples.append(resident_mib(process))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stopped.set()
        thread.join()


def resident_mib(process: psutil.Process) -> float:
    """Of `process` and all its children together."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            total += each.memory_info().rss
    return total / MIB
