"""Calls of the servicer on behalf of HTTP requests: with the same validation, log, metrics and errors as over gRPC."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from starlette.requests import Request

from chassis.errors import STATUS_DETAILS_KEY, InvalidArgument
from chassis.interceptors import REQUEST_ID_KEY, request_id_of

DEADLINE_HEADER = "request-timeout"
MAX_TIMEOUT_S = 3600.0

Result = TypeVar("Result")


class Aborted(Exception):
    """A call ended with an error."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status


class ClientGone(Exception):
    """The client has closed the connection; nobody waits for an answer."""


class HttpContext:
    """An HTTP request as servicers see their caller: the part of `grpc.aio.ServicerContext` that they use.

    Raises:
        InvalidArgument: the header that says the deadline is no number of seconds.
    """

    def __init__(self, request: Request) -> None:
        self._headers = request.headers
        self.request_id = request_id_of(request.headers.items())
        self._timeout_s = self._read_timeout_s()
        self._started_s = asyncio.get_running_loop().time()

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """The request's headers, with its id."""
        headers = ((name, value) for name, value in self._headers.items() if name != REQUEST_ID_KEY)
        return ((REQUEST_ID_KEY, self.request_id), *headers)

    def set_trailing_metadata(self, metadata: object) -> None:
        """Nothing: what trails over gRPC are headers over HTTP, and they are known from the start."""

    def time_remaining(self) -> float | None:
        """Seconds until the client stops waiting; None where it did not say."""
        if self._timeout_s is None:
            return None
        return max(0.0, self._timeout_s - (asyncio.get_running_loop().time() - self._started_s))

    async def abort(self, code: grpc.StatusCode, details: str, metadata: tuple[tuple[str, Any], ...] = ()) -> NoReturn:
        """Ends the call with an error; raises `Aborted`."""
        for key, value in metadata:
            if key == STATUS_DETAILS_KEY:
                raise Aborted(Status.FromString(value))
        raise Aborted(Status(code=code.value[0], message=details))

    def _read_timeout_s(self) -> float | None:
        given = self._headers.get(DEADLINE_HEADER)
        if given is None:
            return None
        try:
            timeout_s = float(given)
        except ValueError:
            timeout_s = 0.0
        if not 0 < timeout_s <= MAX_TIMEOUT_S:
            raise InvalidArgument.of("Request-Timeout", f"send seconds, up to {MAX_TIMEOUT_S:.0f}, such as 2.5")
        return timeout_s


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """What `work` gives; it is cancelled when the client closes the connection, which raises `ClientGone`.

    The request's body has to be read before.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        leaving.cancel()
        await _cancel(working)


async def in_one_task(responses: AsyncIterator[Message]) -> AsyncIterator[Message]:
    """The same responses, asked for by one task from first to last, whichever tasks take them.

    What surrounds a call is bound to the task that it runs in.
    """
    queue: asyncio.Queue[Message | BaseException | None] = asyncio.Queue(1)

    async def fill() -> None:
        try:
            async for response in responses:
                await queue.put(response)
            await queue.put(None)
        except Exception as error:
            await queue.put(error)

    filling = asyncio.create_task(fill())
    try:
        while (response := await queue.get()) is not None:
            if isinstance(response, BaseException):
                raise response
            yield response
    finally:
        await _cancel(filling)


async def only(message: Message) -> AsyncIterator[Message]:
    """A stream of one message."""
    yield message


Behaviour = Callable[[Any, Any], Any]


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _cancel(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task
