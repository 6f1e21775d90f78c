"""All servers of the embedded default as local processes, kept alive by supervisord."""

import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from chassis.probe import is_serving
from gateway.cli.console import fail, out, stderr, stdout
from gateway.cli.supervision import Supervisor

POLL_S = 0.25
FAILED_STATES = ("BACKOFF", "EXITED", "FATAL", "UNKNOWN")


@dataclass(frozen=True)
class Server:
    """One process of the stack.

    Attributes:
        module: what `python -m` runs.
        offset: its port is the gateway's plus this.
    """

    name: str
    module: str
    offset: int


GRPC_SERVERS = (
    Server("captioner", "services.captioner", 1),
    Server("generator", "services.generator", 2),
    Server("ranker", "services.ranker", 3),
    Server("compositor", "services.compositor", 5),
    Server("gateway", "gateway", 0),
)
LLM = Server("llm", "services.generator.local_llm", 4)
HTTP_OFFSET = 6
"""The gateway's port for HTTP is its port for gRPC plus this."""


def up(
    data: Path, port: int, timeout_s: float, *, hermetic: bool = False, settings: Mapping[str, str] | None = None
) -> None:
    """Starts the servers and waits until all are healthy; one that cannot start ends the command with its error.

    Args:
        data: folder for everything that the servers write.
        port: the gateway's; the others take the next five, and HTTP the one after.
        timeout_s: how long to wait.
        hermetic: heed neither `.env` nor any `BACKDROP_*` of the environment: the embedded default and nothing else.
        settings: environment of the servers that comes before any other.
    """
    supervisor = Supervisor(data.absolute())
    if supervisor.is_running():
        fail(f"Servers with the data of {data} are running already.", f"Stop them with: {_down(data)}")
    found = _without_ours(os.environ) if hermetic else {**_dotenv(), **os.environ}
    given = {**found, **(settings or {})}
    _require_no_tls(given)
    servers = GRPC_SERVERS if given.get("BACKDROP_GENERATOR_LLM_URL") else (LLM, *GRPC_SERVERS)
    _require_free_ports(servers, port)
    supervisor.start(
        {server.name: _command(server, port) for server in servers},
        {**_defaults(data.absolute(), port), **given, **_wiring(port)},
        working_folder=data.absolute() if hermetic else Path.cwd(),
    )
    try:
        _wait_until_healthy(supervisor, time.monotonic() + timeout_s, port)
    except BaseException:
        supervisor.stop()
        raise
    _print_addresses(supervisor, servers, port)
    out(f"Logs are in {supervisor.logs}; stop with: {_down(data)}")


def down(data: Path) -> None:
    """Stops the servers and waits until they are gone."""
    supervisor = Supervisor(data.absolute())
    if not supervisor.is_running():
        out("No servers are running.")
        return
    with stderr.status("Stopping the servers"):
        supervisor.stop()
    out("Stopped.")


def _dotenv() -> dict[str, str]:
    """What `.env` sets; an empty value sets nothing."""
    return {key: value for key, value in dotenv_values(".env").items() if value}


def _without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if not key.startswith("BACKDROP_")}


def _require_free_ports(servers: Sequence[Server], port: int) -> None:
    """Ends the command when a port is taken: somebody else's server would pass for ours."""
    listeners = [*((server.name, server.offset) for server in servers), ("gateway", HTTP_OFFSET)]
    for name, offset in listeners:
        address = ("127.0.0.1", port + offset)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError:
                taken = f"The {name} cannot listen on {address[0]}:{address[1]}: another process has it."
                fail(f"{taken} (PORT_TAKEN)", "Choose other ports with: backdrop up --port PORT")


def _down(data: Path) -> str:
    return "backdrop down" if data == Path(".backdrop") else f"backdrop down --data {data}"


def _command(server: Server, port: int) -> list[str]:
    options = ["--port", str(port + server.offset)] if server is LLM else []
    return [sys.executable, "-m", server.module, *options]


def _defaults(data: Path, port: int) -> dict[str, str]:
    """Settings that the user's environment and `.env` may overrule."""
    return {
        "BACKDROP_CAPTIONER_CACHE_DIR": str(data / "cache"),
        "BACKDROP_RANKER_STORE_PATH": str(data / "ranker"),
        "BACKDROP_GATEWAY_ASSETS_URL": str(data / "assets"),
        "BACKDROP_GENERATOR_LLM_URL": f"http://127.0.0.1:{port + LLM.offset}/v1",
        # Threads of idle models sleep instead of spinning: the servers share the cores.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _wiring(port: int) -> dict[str, str]:
    """Ports, and who finds whom where."""
    peers = [server for server in GRPC_SERVERS if server.name != "gateway"]
    return {
        **{f"BACKDROP_{server.name.upper()}_PORT": str(port + server.offset) for server in GRPC_SERVERS},
        "BACKDROP_GATEWAY_HTTP_PORT": str(port + HTTP_OFFSET),
        **{f"BACKDROP_GATEWAY_{peer.name.upper()}_TARGET": f"127.0.0.1:{port + peer.offset}" for peer in peers},
    }


def _require_no_tls(given: Mapping[str, str]) -> None:
    """Servers that only this machine reaches speak no TLS: half of them set up for it would not find each other."""
    names = [
        each for each in sorted(given) if each.startswith("BACKDROP_") and re.search("_(TLS|PEERS)_.*_FILE$", each)
    ]
    if names:
        fail(
            f"backdrop up starts servers without TLS, and {names[0]} is set.",
            "Unset it, or start each server by itself: python -m gateway",
        )


def _wait_until_healthy(supervisor: Supervisor, deadline: float, port: int) -> None:
    waiting = list(GRPC_SERVERS)
    first_pids: dict[str, int] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task("")
        while waiting:
            progress.update(task, description=f"Starting {', '.join(server.name for server in waiting)}")
            _fail_for_the_dead(supervisor, first_pids)
            if time.monotonic() > deadline:
                fail("Not healthy in time: " + ", ".join(server.name for server in waiting), f"See {supervisor.logs}")
            waiting = [server for server in waiting if not is_serving(f"127.0.0.1:{port + server.offset}")]
            time.sleep(POLL_S)


def _fail_for_the_dead(supervisor: Supervisor, first_pids: dict[str, int]) -> None:
    """Ends the command when a process has died, even if supervisord has started it again since."""
    for process in supervisor.processes():
        restarted = process.pid and first_pids.setdefault(process.name, process.pid) != process.pid
        if restarted or process.state in FAILED_STATES:
            fail(f"The {process.name} did not start.", *supervisor.last_lines(process.name))


def _print_addresses(supervisor: Supervisor, servers: tuple[Server, ...], port: int) -> None:
    pids = {process.name: process.pid for process in supervisor.processes()}
    table = Table("server", "listens on", "process", box=None, pad_edge=False)
    for server in servers:
        protocol = "http" if server is LLM else "grpc"
        table.add_row(server.name, f"{protocol}://127.0.0.1:{port + server.offset}", str(pids[server.name]))
    table.add_row("gateway", f"http://127.0.0.1:{port + HTTP_OFFSET}", str(pids["gateway"]))
    stdout.print(table)


@contextmanager
def running(
    data: Path, port: int, timeout_s: float = 180, settings: Mapping[str, str] | None = None
) -> Iterator[Supervisor]:
    """All servers for the time of the `with`, whatever the user has set: for benchmarks and end-to-end tests.

    Args:
        data: folder for everything that the servers write.
        port: the gateway's, as for `up`.
        timeout_s: how long to wait until all are healthy.
        settings: of the servers, beside the embedded default's.
    """
    up(data, port, timeout_s, hermetic=True, settings=settings)
    supervisor = Supervisor(data.absolute())
    try:
        yield supervisor
    finally:
        supervisor.stop()
