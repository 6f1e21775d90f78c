"""The HTTP server inside the gateway's process: uvicorn on the gateway's own event loop."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp

from chassis.server import PortTaken

log = structlog.get_logger(__name__)

POLL_S = 0.01


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to the gateway, which stops this server with the other one."""
        yield


@asynccontextmanager
async def serve_http(
    app: ASGIApp, host: str, port: int, drain_s: float, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serves `app` inside the `async with`, which gives the port; then requests in flight get `drain_s` to finish.

    With `ssl_context`, over TLS.

    Raises:
        PortTaken: something else listens on the port.
    """
    listener = _bind(host, port)
    config = uvicorn.Config(
        app,
        ssl_context_factory=(lambda *_: ssl_context) if ssl_context else None,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]), name="http server")
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(POLL_S)
        bound = int(listener.getsockname()[1])
        log.info("serving_http", host=host, port=bound, tls=ssl_context is not None)
        yield bound
    finally:
        server.should_exit = True
        await serving


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only where the protocol is named does asyncio send small packets at once, instead of 40 ms later.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"Cannot listen on {host}:{port} for HTTP: {error.strerror}.") from error
    listener.listen()
    return listener
