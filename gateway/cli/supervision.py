"""supervisord as a library: starts named processes in the background, keeps them alive, and stops them."""

import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

STOP_WAIT_S = 30
POLL_S = 0.1


@dataclass(frozen=True)
class Process:
    """A process that supervisord keeps; `state` as it names them (STARTING, RUNNING, BACKOFF, FATAL, ...)."""

    name: str
    state: str
    pid: int


class Supervisor:
    """One supervisord, known by the folder that holds its configuration and logs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # In the folder for temporary files, as a socket's path has room for some hundred characters only.
        digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
        self._socket = Path(tempfile.gettempdir()) / f"backdrop-{os.getuid()}-{digest}.sock"
        self.logs = folder / "logs"

    def start(
        self, commands: Mapping[str, Sequence[str]], environment: Mapping[str, str], working_folder: Path
    ) -> None:
        """Starts a supervisord in the background, and with it every command under its name."""
        self.logs.mkdir(parents=True, exist_ok=True)
        for name in commands:
            (self.logs / f"{name}.log").unlink(missing_ok=True)
        config = self._folder / "supervisord.conf"
        config.write_text(self._config(commands))
        daemon = [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)]
        subprocess.run(daemon, env=dict(environment), cwd=working_folder, check=True)
        while not self.is_running():
            time.sleep(POLL_S)

    def is_running(self) -> bool:
        """A supervisord of this folder answers."""
        try:
            with self._rpc() as rpc:
                rpc.supervisor.getPID()
        except OSError:
            return False
        except xmlrpc.client.Fault:
            pass  # It answers, but is shutting down.
        return True

    def processes(self) -> list[Process]:
        """All processes with their present state."""
        with self._rpc() as rpc:
            infos: Any = rpc.supervisor.getAllProcessInfo()
        return [Process(info["name"], info["statename"], info["pid"]) for info in infos]

    def stop(self) -> None:
        """Ends all processes by SIGTERM, then supervisord, and waits until they are gone."""
        with self._rpc() as rpc:
            rpc.supervisor.shutdown()
        while self.is_running():
            time.sleep(POLL_S)

    def last_lines(self, name: str, count: int = 5) -> list[str]:
        """The end of a process's log."""
        log = self.logs / f"{name}.log"
        return log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []

    def _rpc(self) -> xmlrpc.client.ServerProxy:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)

    def _config(self, commands: Mapping[str, Sequence[str]]) -> str:
        sections = [
            f"[unix_http_server]\nfile={self._socket}\nchmod=0700",
            f"[supervisord]\nlogfile={self.logs}/supervisord.log\npidfile={self._folder}/supervisord.pid\nsilent=true",
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
            *(self._program(name, command) for name, command in commands.items()),
        ]
        return "\n\n".join(sections).replace("%", "%%") + "\n"

    def _program(self, name: str, command: Sequence[str]) -> str:
        return (
            f"[program:{name}]\ncommand={shlex.join(command)}\nautorestart=true\nstartsecs=2\n"
            f"stopwaitsecs={STOP_WAIT_S}\nstdout_logfile={self.logs}/{name}.log\nredirect_stderr=true"
        )
