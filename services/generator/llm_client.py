"""The HTTP client of the language model's server: bounded in time and in what it reads."""

from collections.abc import AsyncIterator

import httpx2
import openai

from services.generator.errors import LlmGarbled

CONNECT_S = 3.0
MAX_ANSWER_BYTES = 1024 * 1024
"""The longest answer that is read; 600 tokens take about 3 kB."""


def open_client(url: str, key: str, timeout_s: float) -> openai.AsyncOpenAI:
    """A client that retries nothing, as that depends on the caller's deadline."""
    return openai.AsyncOpenAI(
        base_url=url,
        # The client refuses an empty key, and servers that ask for none ignore it.
        api_key=key or "none",
        max_retries=0,
        # The client's timeout is for each read, which a server that trickles never exceeds.
        timeout=httpx2.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
        http_client=openai.DefaultAsyncHttpxClient(transport=_LimitedTransport()),
    )


class _LimitedTransport(httpx2.AsyncHTTPTransport):
    """Breaks off answers that are too long."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _LimitedStream(response.stream)
        return response


class _LimitedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_ANSWER_BYTES
        async for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise LlmGarbled(f"The language model's server sent more than {MAX_ANSWER_BYTES // 1024} KiB.")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
