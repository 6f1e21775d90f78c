"""A real Prometheus, of Debian's package, that reads the metrics of servers on this machine every second."""

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.prometheus_operator import ALERTS
from tests.servers.ports import free_port

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="there is no prometheus: install Debian's package prometheus"
)


class Prometheus:
    """Its HTTP API."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression as they are now."""
        answer = self._client.get("/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        series: list[dict[str, Any]] = answer["data"]["result"]
        return series

    def rules(self) -> list[dict[str, Any]]:
        """All alerts, with how they were evaluated."""
        groups = self._client.get("/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextmanager
def reading(ports: Mapping[str, int], folder: Path) -> Iterator[Prometheus]:
    """A Prometheus with Backdrop's alerts, whose jobs read those ports; its data is in `folder`."""
    jobs = [{"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in ports.items()]
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": jobs,
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    process = subprocess.Popen(command, cwd=folder)
    try:
        _wait_until_ready(process, f"http://{address}")
        with httpx.Client(base_url=f"http://{address}/api/v1") as client:
            yield Prometheus(client)
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        assert process.poll() is None, "prometheus ended: its output says why"
        try:
            if httpx.get(f"{url}/-/ready").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError("prometheus was not ready in 30 s")
