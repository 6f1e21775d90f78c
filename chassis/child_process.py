"""An object in a process of its own, which is started again when it ends.

Native code can take its process down, by running out of memory or by a fault, and can hold the interpreter's lock for
as long as it works. So what runs much of it gets a process to itself, and the server stays up, goes on answering, and
says so while another one is started.
"""

import asyncio
import gc
import itertools
import pickle
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Protocol, Self

import structlog

from chassis import logs, tracing
from chassis.config import Config, ServerConfig
from chassis.errors import BackdropError, OutOfMemory, is_out_of_memory

log = structlog.get_logger(__name__)

Request = tuple[int, str, tuple[Any, ...]]
"""Its number, a method, and the arguments."""

# A process that ends as soon as it is ready is not started again in a tight loop.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 30.0
_STOP_S = 5.0
_MAX_BATCH = 256
_GARBAGE = 100_000
"""New objects after which the child looks for cycles; by default 700."""
_PARENT_GONE = (BrokenPipeError, ConnectionResetError)
_GONE = (asyncio.IncompleteReadError, ConnectionError)

# How `multiprocessing.connection.Connection` frames messages: the length, or -1 and a longer length.
_LENGTH, _LONG_LENGTH = struct.Struct("!i"), struct.Struct("!Q")
_READ_AHEAD_BYTES = 1 << 20


class Hosted(Protocol):
    """What lives in the child: any object, of which one method at a time is called.

    Where methods are named as `committed`, it has a method `commit` too, without arguments.
    """

    @property
    def card(self) -> Any:
        """What the parent needs to know of it: plain values, the same ones for each process that is started."""
        ...


class ChildProcess:
    """Calls an object that lives in a process of its own, and keeps such a process running.

    Requests that arrive while the child works are taken together, and run in their order. Those of methods in
    `committed` are answered after one `commit()` for all of them, as databases do it (DeWitt et al. 1984,
    "Implementation techniques for main memory database systems"); if it fails, each gets its error.

    Args:
        open_hosted: opens the object; entered in the child, and left there when the parent dismisses it. A function of
            a module, since it is pickled by its name.
        config: given to `open_hosted`; it also tells how the child logs.
        service: the service's name in the child's logs.
        name: of the process.
        restarting: makes the error of calls while there is no process.
        not_started: makes the error of a process that ends while it starts, from how it ended.
        failed: makes the error for an exception that a method should not raise; its trace goes to the child's log.
        status_changed: set when the process ends and when it is ready again.
        timeout_s: a call that takes longer has its process killed; None lets calls take any time.
        fatal: exceptions that end the child.
        committed: the methods that are answered after a commit.
        restart: whether another process is started when one ends.

    Attributes:
        card: of the hosted object.
    """

    card: Any

    def __init__(
        self,
        open_hosted: Callable[[Config], AbstractContextManager[Hosted]],
        config: Config,
        *,
        service: str,
        name: str,
        restarting: Callable[[], BackdropError],
        not_started: Callable[[str], BackdropError],
        failed: Callable[[], BackdropError],
        status_changed: asyncio.Event | None = None,
        timeout_s: float | None = None,
        fatal: tuple[type[BaseException], ...] = (),
        committed: frozenset[str] = frozenset(),
        restart: bool = True,
    ) -> None:
        self._child = _Child(open_hosted, config, service, failed(), fatal, committed)
        self._name = name
        self._restarting = restarting
        self._not_started = not_started
        self._status_changed = status_changed or asyncio.Event()
        self._timeout_s = timeout_s
        self._restart = restart
        self._ready = False
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        """Starts the process and waits until the object is open.

        Raises:
            BackdropError: the object cannot be opened, with what is wrong; or the process ended while it started.
        """
        self._loop = asyncio.get_running_loop()
        await self._spawn()
        try:
            await self._get_ready()
        except BaseException:
            await self._stop()
            raise
        self._keeper = asyncio.create_task(self._keep_running(), name=f"{self._name} keeper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)
        await self._stop()

    async def call(self, method: str, *arguments: Any) -> Any:
        """What the hosted object's method of that name returns for the arguments.

        Raises:
            BackdropError: the method's own; or there is no process, it ended meanwhile, or the method failed.
        """
        with tracing.span(f"{self._name}: {method}"):
            return await self._call(method, arguments)

    async def _call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        if not self._ready:
            raise self._restarting()
        number = next(self._numbers)
        answer = self._answers[number] = self._loop.create_future()
        try:
            async with asyncio.timeout(self._timeout_s):
                # Where nothing can be sent, the process has ended, and the keeper settles the answer.
                with suppress(ConnectionError):
                    await self._stream.send((number, method, arguments))
                return await answer
        except TimeoutError as error:
            log.error("process_hangs", process=self._name, method=method, timeout_s=self._timeout_s)
            # Its end makes the keeper start another one.
            self._process.kill()
            self._set_ready(False)
            raise self._restarting() from error
        finally:
            self._answers.pop(number, None)

    async def check(self) -> None:
        """Raises while there is no process to call."""
        if self._restart and self._keeper.done():
            raise RuntimeError(f"nothing starts the process of the {self._name} again")
        if not self._ready:
            raise self._restarting()

    async def _spawn(self) -> None:
        self._process, ours = await asyncio.to_thread(self._start_process)
        self._stream = await _Stream.over(ours)

    def _start_process(self) -> tuple[SpawnProcess, socket.socket]:
        context = get_context("spawn")
        ours, theirs = socket.socketpair()
        # Without a copy of theirs here, their end shows as the end of the stream.
        with Connection(theirs.detach()) as connection:
            process = context.Process(target=self._child.live, args=(connection,), name=self._name, daemon=True)
            process.start()
        return process, ours

    async def _get_ready(self) -> None:
        try:
            first = await self._stream.receive()
        except _GONE as error:
            raise self._not_started(await self._end()) from error
        if isinstance(first, BackdropError):
            raise first
        if first != getattr(self, "card", first):
            how = (
                f"dismissed since it opened another thing than the first one did: start the {self._child.service} anew"
            )
            raise self._not_started(how)
        self.card = first
        self._receiving = asyncio.create_task(self._receive(self._stream), name=f"from {self._name}")
        self._set_ready(True)

    async def _keep_running(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            started = self._loop.time()
            if self._ready:
                await self._answer_until_end()
            if not self._restart:
                return
            lasted_long = self._loop.time() - started > _LONGEST_PAUSE_S
            pause_s = _FIRST_PAUSE_S if lasted_long else min(2 * pause_s, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)
            await self._start_again()

    async def _answer_until_end(self) -> None:
        # What is under way is still answered when the keeper is cancelled.
        await asyncio.shield(self._receiving)
        self._set_ready(False)
        log.error("process_ended", process=self._name, how=await self._end(), pid=self._process.pid)

    async def _start_again(self) -> None:
        try:
            await self._spawn()
            await self._get_ready()
            log.info("process_restarted", process=self._name, pid=self._process.pid)
        except (BackdropError, OSError) as error:
            log.error("process_restart_failed", process=self._name, error=str(error))
            await self._end()

    async def _receive(self, stream: "_Stream") -> None:
        """Hands answers to those who wait for them, until the process ends."""
        while True:
            try:
                number, answer = await stream.receive()
            except _GONE:
                return
            except Exception:
                # Nobody knows whose answer it was, so all who wait must hear of it.
                log.exception("answer_unreadable", process=self._name)
                self._process.kill()
                return
            self._settle(number, answer)

    def _settle(self, number: int, answer: object) -> None:
        waiting = self._answers.pop(number, None)
        if waiting is None or waiting.done():
            return
        if isinstance(answer, BaseException):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)

    def _set_ready(self, ready: bool) -> None:
        self._ready = ready
        if not ready:
            for number in list(self._answers):
                self._settle(number, self._restarting())
        self._status_changed.set()

    async def _end(self) -> str:
        """Ends the process, unless it has ended by itself, and tells how it ended."""
        await self._stream.close()
        await asyncio.to_thread(_join_or_kill, self._process)
        code = self._process.exitcode
        return f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit status {code}"

    async def _stop(self) -> None:
        self._ready = False
        with suppress(ConnectionError):
            await self._stream.send(None)
        await asyncio.to_thread(_join_or_kill, self._process)
        # What it has answered before its end is still read.
        if receiving := getattr(self, "_receiving", None):
            await receiving
        self._set_ready(False)
        await self._stream.close()
        self._process.close()


class _Stream:
    """The parent's end: messages as `Connection` frames them, without a thread that waits for them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Self:
        """Takes over one end of a pair of sockets."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_READ_AHEAD_BYTES))

    async def send(self, message: object) -> None:
        """Sends a message, waiting while the other end does not read."""
        data = _pickled(message)
        self._writer.write(_LENGTH.pack(-1) + _LONG_LENGTH.pack(len(data)))
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> Any:
        """The next message."""
        [length] = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
        if length == -1:
            [length] = _LONG_LENGTH.unpack(await self._reader.readexactly(_LONG_LENGTH.size))
        return pickle.loads(await self._reader.readexactly(length))

    async def close(self) -> None:
        """Lets the other end see the end."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


@dataclass(frozen=True, slots=True)
class _Child:
    """The child's side: what `ChildProcess` was told."""

    open_hosted: Callable[[Any], AbstractContextManager[Hosted]]
    config: ServerConfig
    service: str
    failed: BackdropError
    fatal: tuple[type[BaseException], ...]
    committed: frozenset[str]

    def live(self, connection: Connection) -> None:
        """The life of the process: it ends when the parent dismisses it, or has gone."""
        # The server drains at these signals, and needs the child meanwhile.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        logs.configure(self.service, self.config.log_level, self.config.log_format)
        with ExitStack() as stack:
            try:
                hosted = stack.enter_context(self.open_hosted(self.config))
            except BackdropError as error:
                with suppress(*_PARENT_GONE):
                    connection.send(error)
                return
            with suppress(*_PARENT_GONE):
                self._serve(connection, hosted)

    def _serve(self, connection: Connection, hosted: Hosted) -> None:
        # Large batches of plain values hold no cycles, and looking for some took a sixth of an import.
        gc.freeze()
        gc.set_threshold(_GARBAGE)
        connection.send(hosted.card)
        dismissed = False
        while not dismissed:
            requests, dismissed = _arrived(connection)
            self._answer_all(connection, hosted, requests)

    def _answer_all(self, connection: Connection, hosted: Hosted, requests: list[Request]) -> None:
        held: list[tuple[int, object]] = []
        for number, method, arguments in requests:
            answer = self._run(hosted, method, arguments)
            if method in self.committed:
                held.append((number, answer))
            else:
                self._reply(connection, number, answer)
        done = [answer for _, answer in held if not isinstance(answer, BackdropError)]
        outcome = self._run(hosted, "commit", ()) if done else None
        for number, answer in held:
            uncommitted = isinstance(outcome, BackdropError) and not isinstance(answer, BackdropError)
            self._reply(connection, number, outcome if uncommitted else answer)

    def _run(self, hosted: Hosted, method: str, arguments: tuple[Any, ...]) -> object:
        """What the method returns, or the error that answers for it."""
        try:
            return getattr(hosted, method)(*arguments)
        except (KeyboardInterrupt, SystemExit):
            raise
        except self.fatal:
            raise
        except BackdropError as error:
            return error
        except BaseException as error:
            # A panic of Rust code is no `Exception`.
            log.exception("method_failed", method=method)
            return self._failure(error)

    def _reply(self, connection: Connection, number: int, answer: object) -> None:
        try:
            _send(connection, (number, answer))
        except _PARENT_GONE:
            raise
        except Exception as error:
            log.exception("answer_not_sent")
            _send(connection, (number, self._failure(error)))

    def _failure(self, error: BaseException) -> BackdropError:
        if is_out_of_memory(error):
            return OutOfMemory(f"The {self.service} is out of memory; try again later.", retry_after_s=1)
        return self.failed


def _arrived(connection: Connection) -> tuple[list[Request], bool]:
    """All requests that have come, waiting for the first, and whether they are the last ones."""
    requests: list[Request] = []
    while not requests or (len(requests) < _MAX_BATCH and connection.poll()):
        try:
            request = connection.recv()
        except (EOFError, ConnectionResetError):
            return requests, True
        if request is None:
            return requests, True
        requests.append(request)
    return requests, False


def _send(connection: Connection, message: object) -> None:
    connection.send_bytes(_pickled(message))


def _pickled(message: object) -> bytes:
    # Protocol 5 copies arrays once less than the default one.
    return pickle.dumps(message, protocol=5)


def _join_or_kill(process: SpawnProcess) -> None:
    process.join(_STOP_S)
    # Nothing happens to a process that has ended.
    process.kill()
    process.join()
