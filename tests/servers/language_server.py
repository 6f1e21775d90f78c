"""A small HTTP server that speaks the OpenAI API as well, or as badly, as a test tells it to."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class LanguageServer:
    """A running server; a test sets `reply` to say how the next completions go.

    Attributes:
        url: the API's base address.
        reply: writes the answer to a completion.
        models: names that `/models` lists.
        models_reply: stands in for the list of models, when set.
        requests: bodies of the completions that were asked for.
        abandoned: completions whose client left before the answer.
    """

    url: str
    reply: Reply
    models: list[str] = field(default_factory=lambda: ["tiny"])
    models_reply: Reply | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    models_asked: int = 0
    keys: list[str] = field(default_factory=list)
    abandoned: int = 0


def answering(text: str | None, finish_reason: str = "stop", refusal: str | None = None) -> Reply:
    """Answers with `text`."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return completing([{"index": 0, "finish_reason": finish_reason, "message": message}])


def completing(choices: Any, model: Any = "tiny") -> Reply:
    """Answers with any choices."""
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": model, "choices": choices, "usage": usage}
    return sending(200, json.dumps(body))


def candidates(captions: Sequence[str], scenes: Sequence[str]) -> Reply:
    """Answers with well-formed captions and scenes."""
    return answering(json.dumps({"captions": captions, "scenes": scenes}))


def in_turn(*replies: Reply) -> Reply:
    """Replies with one after the other, and with the last for ever."""
    left = list(replies)

    async def reply(writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(writer)

    return reply


def after(seconds: float, then: Reply) -> Reply:
    """Replies late."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await then(writer)

    return reply


def sending(status: int, body: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Answers with any status and body."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        content = body.encode()
        lines = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"HTTP/1.1 {status} Whatever\r\n{head}Connection: close\r\n\r\n".encode() + content)

    return reply


async def hanging(writer: asyncio.StreamWriter) -> None:
    """Never answers."""
    await asyncio.sleep(3600)


async def trickling(writer: asyncio.StreamWriter) -> None:
    """Sends a byte now and then, for ever, so that no single read takes long."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def cutting_off(writer: asyncio.StreamWriter) -> None:
    """Closes the connection in the middle of the answer."""
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"id": "1", ')


async def raving(writer: asyncio.StreamWriter) -> None:
    """Sends megabytes without end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


@asynccontextmanager
async def serve(reply: Reply, port: int = 0) -> AsyncIterator[LanguageServer]:
    """Serves on `port`; 0 takes a free one."""
    server = LanguageServer("", reply)
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        try:
            await _answer(server, reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", port)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(server: LanguageServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    server.keys.append(headers.get("authorization", ""))
    if head.startswith("GET /v1/models"):
        server.models_asked += 1
        listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in server.models]}
        await (server.models_reply or sending(200, json.dumps(listed)))(writer)
    else:
        server.requests.append(json.loads(body))
        await _reply_unless_abandoned(server, reader, writer)


async def _reply_unless_abandoned(
    server: LanguageServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    replying = asyncio.ensure_future(server.reply(writer))
    leaving = asyncio.ensure_future(reader.read())
    try:
        await asyncio.wait([replying, leaving], return_when=asyncio.FIRST_COMPLETED)
        server.abandoned += not replying.done()
    finally:
        replying.cancel()
        leaving.cancel()
        await asyncio.gather(replying, leaving, return_exceptions=True)
