"""A child process dies in every way that there is, and another one answers; writes are committed together."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import structlog

from chassis.child_process import ChildProcess, Hosted
from chassis.config import ServerConfig
from chassis.errors import (
    BackdropError,
    FailedPrecondition,
    InvalidArgument,
    OutOfMemory,
    ResourceExhausted,
    Unavailable,
)

GUARD_S = 60


class Restarting(Unavailable):
    pass


class NotStarted(FailedPrecondition):
    pass


class Failed(BackdropError):
    pass


class Lost(BackdropError):
    pass


class DiskFull(ResourceExhausted):
    """Makes its message itself."""

    def __init__(self) -> None:
        super().__init__("The disk is full.", retry_after_s=7)


class Panic(BaseException):
    """As Rust code raises it."""


class Unreadable:
    def __reduce__(self) -> Any:
        return int, ("not a number",)


class JournalConfig(ServerConfig):
    folder: Path


class Journal:
    """Keeps lines, and does what its folder's marks and its callers say."""

    def __init__(self, folder: Path) -> None:
        self.card = (folder / "card").read_text() if (folder / "card").exists() else "journal"
        self._folder = folder
        self._lines: list[str] = []
        self._commits = 0

    def write(self, line: str) -> int:
        if not line:
            raise InvalidArgument("a line is empty")
        self._lines.append(line)
        return len(self._lines)

    def commit(self) -> None:
        while (self._folder / "slow disk").exists():
            time.sleep(0.01)
        if (self._folder / "full disk").exists():
            raise DiskFull
        if (self._folder / "broken disk").exists():
            raise Panic
        self._commits += 1

    def lines(self) -> list[str]:
        return self._lines

    def commits(self) -> int:
        return self._commits

    def echo(self, value: Any) -> Any:
        return value

    def pid(self) -> int:
        return os.getpid()

    def wait_for(self, mark: str) -> None:
        while not (self._folder / mark).exists():
            time.sleep(0.01)

    def end(self, how: str) -> None:
        match how:
            case "exit":
                os._exit(7)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "fatal":
                raise Lost("The device is lost.")
            case "system exit":
                sys.exit(3)
            case "hang":
                time.sleep(GUARD_S)

    def crash(self) -> None:
        raise ZeroDivisionError

    def panic(self) -> None:
        raise Panic

    def hoard(self) -> None:
        raise MemoryError

    def unsendable(self) -> Any:
        return lambda: None

    def unreadable(self) -> Any:
        return Unreadable()


@contextmanager
def open_journal(config: JournalConfig) -> Iterator[Hosted]:
    try:
        yield Journal(config.folder)
    finally:
        (config.folder / "closed").touch()


@contextmanager
def open_nothing(config: JournalConfig) -> Iterator[Hosted]:
    raise DiskFull
    yield


@contextmanager
def open_and_die(config: JournalConfig) -> Iterator[Hosted]:
    sys.exit(3)
    yield


@contextmanager
def open_once(config: JournalConfig) -> Iterator[Hosted]:
    mark = config.folder / "opened"
    if mark.exists():
        raise DiskFull
    mark.touch()
    yield Journal(config.folder)


def child(folder: Path, open_hosted: Callable[[JournalConfig], Any] = open_journal, **options: Any) -> ChildProcess:
    return ChildProcess(
        open_hosted,
        JournalConfig(folder=folder),
        service="journal",
        name="journal",
        restarting=lambda: Restarting("Try again.", retry_after_s=1),
        not_started=lambda how: NotStarted(f"The journal's process ended while it started, {how}."),
        failed=lambda: Failed("The journal failed."),
        fatal=(Lost,),
        committed=frozenset({"write"}),
        **options,
    )


async def until_ready(process: ChildProcess) -> None:
    async with asyncio.timeout(GUARD_S):
        while True:
            try:
                return await process.check()
            except Restarting:
                await asyncio.sleep(0.05)


def children() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())]


@asynccontextmanager
async def busy(process: ChildProcess, folder: Path) -> AsyncIterator[None]:
    """What is called meanwhile waits, and is then taken together."""
    working = asyncio.create_task(process.call("wait_for", "free"))
    await asyncio.sleep(0.3)
    yield
    await asyncio.sleep(0.3)
    (folder / "free").touch()
    await working


async def test_each_call_gets_its_answer_from_another_process(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    async with child(tmp_path) as process:
        answers = await asyncio.gather(*(process.call("echo", number) for number in range(300)))
        array = await process.call("echo", rows)
        pid = await process.call("pid")

    assert process.card == "journal"
    assert answers == list(range(300))
    np.testing.assert_array_equal(array, rows)
    assert pid != os.getpid()


async def test_writes_that_arrive_together_are_committed_once(tmp_path: Path) -> None:
    async with child(tmp_path) as process:
        async with busy(process, tmp_path):
            writes = asyncio.gather(*(process.call("write", line) for line in "abcde"))
        numbers = await writes
        commits_together = await process.call("commits")
        await process.call("write", "f")
        commits = await process.call("commits")

    assert numbers == [1, 2, 3, 4, 5]
    assert (commits_together, commits) == (1, 2)


async def test_a_write_is_answered_after_its_commit_and_a_read_need_not_wait(tmp_path: Path) -> None:
    (tmp_path / "slow disk").touch()
    async with child(tmp_path) as process:
        async with busy(process, tmp_path):
            write = asyncio.create_task(process.call("write", "a"))
            await asyncio.sleep(0)
            read = asyncio.create_task(process.call("lines"))
        lines = await read
        await asyncio.sleep(0.2)
        answered_before = write.done()
        (tmp_path / "slow disk").unlink()
        number = await write

    assert not answered_before
    assert (lines, number) == (["a"], 1)


@pytest.mark.parametrize(("disk", "error"), [("full disk", DiskFull), ("broken disk", Failed)])
async def test_a_failed_commit_reaches_all_writers_and_no_reader(
    tmp_path: Path, disk: str, error: type[BackdropError]
) -> None:
    (tmp_path / disk).touch()
    async with child(tmp_path) as process:
        async with busy(process, tmp_path):
            writes = asyncio.gather(*(process.call("write", line) for line in "abc"), return_exceptions=True)
            await asyncio.sleep(0)
            read = asyncio.create_task(process.call("echo", "read"))
        outcomes, answer = await writes, await read
        (tmp_path / disk).unlink()
        await process.call("write", "d")

    assert [type(each) for each in outcomes] == [error] * 3
    assert answer == "read"


async def test_a_write_that_is_refused_does_not_fail_those_beside_it(tmp_path: Path) -> None:
    async with child(tmp_path) as process:
        async with busy(process, tmp_path):
            writes = asyncio.gather(*(process.call("write", line) for line in ("a", "", "b")), return_exceptions=True)
        first, refused, second = await writes

    assert (first, second) == (1, 2)
    assert isinstance(refused, InvalidArgument)


@pytest.mark.parametrize("method", ["crash", "panic", "unsendable", "no_such_method"])
async def test_a_method_that_fails_fails_its_call_and_the_process_stays(tmp_path: Path, method: str) -> None:
    async with child(tmp_path) as process:
        before = await process.call("pid")
        with pytest.raises(Failed):
            await process.call(method)
        assert await process.call("pid") == before


async def test_a_call_that_gets_no_memory_says_so(tmp_path: Path) -> None:
    async with child(tmp_path) as process:
        with pytest.raises(OutOfMemory) as caught:
            await process.call("hoard")
    assert caught.value.retry_after_s


async def test_an_error_arrives_as_it_was_raised(tmp_path: Path) -> None:
    (tmp_path / "full disk").touch()
    async with child(tmp_path) as process:
        with pytest.raises(DiskFull, match="The disk is full") as caught:
            await process.call("write", "a")
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize("how", ["exit", "kill", "fatal", "system exit", "hang"])
async def test_a_process_that_ends_fails_what_it_worked_on_and_another_one_is_started(tmp_path: Path, how: str) -> None:
    status_changed = asyncio.Event()
    async with child(tmp_path, status_changed=status_changed, timeout_s=2 if how == "hang" else None) as process:
        before = await process.call("pid")
        status_changed.clear()
        calls = (process.call("end", how), process.call("echo", 1))
        outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), GUARD_S)
        assert status_changed.is_set()
        with pytest.raises(Restarting):
            await process.check()
        with pytest.raises(Restarting):
            await process.call("echo", 1)

        await until_ready(process)
        after = await process.call("pid")

    assert [type(each) for each in outcomes] == [Restarting, Restarting]
    assert before != after


async def test_a_process_killed_from_outside_fails_what_it_worked_on_and_nothing_after(tmp_path: Path) -> None:
    async with child(tmp_path) as process:
        working = [asyncio.create_task(process.call(*each)) for each in (("wait_for", "ever"), ("write", "a"))]
        await asyncio.sleep(0.3)
        children()[0].send_signal(signal.SIGKILL)
        outcomes = await asyncio.wait_for(asyncio.gather(*working, return_exceptions=True), GUARD_S)
        await until_ready(process)
        assert await process.call("write", "b") == 1

    assert [type(each) for each in outcomes] == [Restarting, Restarting]


async def test_an_answer_that_cannot_be_read_leaves_nobody_waiting(tmp_path: Path) -> None:
    async with child(tmp_path) as process:
        calls = (process.call("unreadable"), process.call("wait_for", "ever"))
        outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), GUARD_S)
        await until_ready(process)
    assert [type(each) for each in outcomes] == [Restarting, Restarting]


async def test_a_process_that_is_not_to_be_restarted_stays_ended(tmp_path: Path) -> None:
    async with child(tmp_path, restart=False) as process:
        with pytest.raises(Restarting):
            await process.call("end", "exit")
        await asyncio.sleep(1)
        with pytest.raises(Restarting):
            await process.check()
        assert not children()


@pytest.mark.parametrize(
    ("open_hosted", "error", "says"),
    [(open_nothing, DiskFull, "The disk is full"), (open_and_die, NotStarted, "exit status 3")],
)
async def test_what_cannot_be_opened_stops_the_start(
    tmp_path: Path, open_hosted: Callable[[JournalConfig], Any], error: type[BackdropError], says: str
) -> None:
    with pytest.raises(error, match=says):
        async with child(tmp_path, open_hosted):
            pass
    assert not children()


async def test_what_cannot_be_opened_again_is_tried_until_it_can(tmp_path: Path) -> None:
    async with child(tmp_path, open_once) as process:
        children()[0].kill()
        await asyncio.sleep(2)
        with pytest.raises(Restarting):
            await process.check()
        (tmp_path / "opened").unlink()
        await until_ready(process)


async def test_a_process_that_opens_another_thing_than_the_first_one_is_not_used(tmp_path: Path) -> None:
    async with child(tmp_path) as process:
        (tmp_path / "card").write_text("another journal")
        with structlog.testing.capture_logs() as logs:
            children()[0].kill()
            await until_logged(logs, "process_restart_failed")
        with pytest.raises(Restarting):
            await process.call("echo", 1)
        (tmp_path / "card").unlink()
        await until_ready(process)
        assert len(children()) == 1

    (failed, *_) = [each for each in logs if each["event"] == "process_restart_failed"]
    assert "start the journal anew" in failed["error"]


async def until_logged(logs: list[Any], event: str) -> None:
    async with asyncio.timeout(GUARD_S):
        while all(each["event"] != event for each in logs):
            await asyncio.sleep(0.05)


async def test_a_dismissed_child_finishes_and_closes_what_it_opened(tmp_path: Path) -> None:
    async with child(tmp_path) as process:
        write = asyncio.create_task(process.call("write", "a"))
        await asyncio.sleep(0)
        assert not (tmp_path / "closed").exists()

    assert await write == 1
    assert (tmp_path / "closed").exists()
    assert not children()


async def test_a_child_that_hangs_at_the_end_leaves_nobody_waiting(tmp_path: Path) -> None:
    async with child(tmp_path) as process:
        working = asyncio.create_task(process.call("end", "hang"))
        await asyncio.sleep(0.3)

    with pytest.raises(Restarting):
        await asyncio.wait_for(working, GUARD_S)
    assert not children()


async def test_the_child_stays_while_the_server_drains(tmp_path: Path) -> None:
    async with child(tmp_path) as process:
        before = await process.call("pid")
        for each in (signal.SIGTERM, signal.SIGINT):
            os.kill(before, each)
        assert await process.call("pid") == before


def test_a_child_does_not_outlive_its_server_and_closes_what_it_opened(tmp_path: Path) -> None:
    server = psutil.Popen([sys.executable, "-c", ORPHANING, str(tmp_path)], cwd=Path(__file__).parents[3])
    try:
        wait_until(lambda: (tmp_path / "pid").exists())
        journal = psutil.Process(int((tmp_path / "pid").read_text()))
        server.kill()
        server.wait()
        journal.wait(timeout=GUARD_S)
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    assert (tmp_path / "closed").exists()


ORPHANING = """
import asyncio, os, pathlib, sys
from tests.unit.chassis.test_child_process import child

async def serve():
    folder = pathlib.Path(sys.argv[1])
    async with child(folder) as process:
        (folder / "pid.new").write_text(str(await process.call("pid")))
        os.rename(folder / "pid.new", folder / "pid")
        await asyncio.sleep(60)

if __name__ == "__main__":
    asyncio.run(serve())
"""


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + GUARD_S
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError
        time.sleep(0.05)


async def test_a_write_that_is_refused_hears_its_own_error_whatever_the_disk_says(tmp_path: Path) -> None:
    (tmp_path / "full disk").touch()
    async with child(tmp_path) as process:
        async with busy(process, tmp_path):
            writes = asyncio.gather(*(process.call("write", line) for line in ("", "a")), return_exceptions=True)
        refused, lost = await writes
        with pytest.raises(InvalidArgument):
            await process.call("write", "")

    assert isinstance(refused, InvalidArgument)
    assert isinstance(lost, DiskFull)
