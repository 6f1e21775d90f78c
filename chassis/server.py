"""The life of a server: load, warm up, serve, drain, close."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

import grpc
import structlog
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from chassis import health, logs, tracing
from chassis.config import Config, ServerConfig, load
from chassis.errors import BackdropError, FailedPrecondition
from chassis.interceptors import RequestInterceptor
from chassis.tls import certificate_files

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Application:
    """What a server serves once it is loaded and warm.

    Attributes:
        services: the full name of each gRPC service, and what registers its servicer with a server.
        checks: named looks at dependencies; each raises while its dependency is not ready.
        status_changed: set by the application when a check would answer otherwise than before, so that health says so
            at once.
    """

    services: Mapping[str, Callable[[grpc.aio.Server], None]]
    checks: Mapping[str, health.Check] = field(default_factory=dict)
    status_changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class RunningServer:
    """A server that accepts calls."""

    port: int
    readiness: health.Readiness


OpenApplication = Callable[[Config], AbstractAsyncContextManager[Application]]


class PortTaken(FailedPrecondition):
    """Another process listens on the port."""

    reason = "PORT_TAKEN"


def run(name: str, config_class: type[Config], open_application: OpenApplication[Config]) -> None:
    """The whole of a service's `__main__`: serves until SIGTERM or SIGINT, then drains and returns.

    Args:
        name: the service's name in its logs.
        config_class: built from the environment.
        open_application: loads and warms the application, and closes it; an error ends the process.
    """
    config = load(config_class)
    logs.configure(name, config.log_level, config.log_format)
    try:
        with tracing.exporting(f"backdrop-{name}"):
            asyncio.run(_serve(config, open_application))
    except BackdropError as error:
        log.error("start_failed", reason=error.reason, error=error.message)
        sys.exit(1)


async def _serve(config: Config, open_application: OpenApplication[Config]) -> None:
    with _cancelled_by_signals(), suppress(asyncio.CancelledError):
        async with open_application(config) as application, start(config, application) as server:
            log.info("serving", host=config.host, port=server.port)
            await asyncio.Event().wait()
    log.info("stopped")


@asynccontextmanager
async def start(config: ServerConfig, application: Application) -> AsyncIterator[RunningServer]:
    """Serves `application` inside the `async with`, then turns NOT_SERVING, drains calls in flight and closes.

    Raises:
        PortTaken: something else listens on `config.port`.
        CertificateUnusable: the files for TLS cannot be used.
    """
    server = grpc.aio.server(interceptors=[RequestInterceptor()], options=_options(config))
    readiness = health.Readiness(list(application.services), application.checks, config.health_interval_s)
    for register in application.services.values():
        register(server)
    add_HealthServicer_to_server(readiness.servicer, server)
    names = [*application.services, health.SERVICE_NAME, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)
    port = _bind(server, config)
    with _metrics(config):
        await readiness.open()
        await server.start()
        watching = asyncio.create_task(readiness.watch(application.status_changed))
        try:
            yield RunningServer(port, readiness)
        finally:
            watching.cancel()
            log.info("draining")
            await readiness.close()
            await asyncio.sleep(config.shutdown_delay_s)
            await server.stop(config.drain_s)


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    limit = config.max_message_mib * 1024 * 1024
    # Without a limit of grace, as calls have deadlines of their own and an import may take an hour.
    age = [("grpc.max_connection_age_ms", round(config.max_connection_age_s * 1000))]
    return [
        *(age if config.max_connection_age_s else []),
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", limit),
        # Two servers must not share a port unnoticed.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        # Callers ask once a second whether it hangs.
        ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ]


def _bind(server: grpc.aio.Server, config: ServerConfig) -> int:
    address = f"{config.host}:{config.port}"
    files = certificate_files(config)
    try:
        if files:
            return server.add_secure_port(address, files.grpc_credentials())
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise PortTaken(
            f"Cannot listen on {config.host}:{config.port}: another process has it, or the address is not this host's."
        ) from error


@contextmanager
def _metrics(config: ServerConfig) -> Iterator[None]:
    if not config.metrics_port:
        yield
        return
    try:
        server, thread = start_http_server(config.metrics_port, addr=config.host)
    except OSError as error:
        raise PortTaken(f"Cannot serve metrics on {config.host}:{config.metrics_port}: {error.strerror}.") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """Cancels the current task at SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("must run inside a task")
    stopping = (signal.SIGTERM, signal.SIGINT)
    for each in stopping:
        loop.add_signal_handler(each, task.cancel)
    try:
        yield
    finally:
        for each in stopping:
            loop.remove_signal_handler(each)
