"""The bulk job on a real Ray, with the real model, against all servers."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from backdrop.gateway.v1 import gateway_pb2 as pb
from gateway.cli import stack
from gateway.cli.client import all_backgrounds, connect
from tests.servers.ports import free_ports

SAMPLES = Path(__file__).parents[3] / "samples" / "library"
# More pages than a worker has in hand.
COUNT = 56

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Servers:
    """Where the gateway listens."""

    target: str

    def command(self, module: str, *arguments: str) -> list[str]:
        """A command line that talks to the gateway."""
        return [sys.executable, "-m", module, *arguments, "--target", self.target]

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        environment = {**os.environ, "COLUMNS": "200"}
        return subprocess.run(self.command(module, *arguments), env=environment, text=True, capture_output=True)

    def stored(self, library: str) -> dict[str, pb.Background]:
        """The backgrounds of a library by id; none while the library is not there."""
        with connect(self.target) as stub, contextlib.suppress(grpc.RpcError):
            return {each.name.rsplit("/", 1)[1]: each for each in all_backgrounds(stub, library)}
        return {}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    port = free_ports(7)
    with stack.running(tmp_path_factory.mktemp("stack"), port):
        yield Servers(f"127.0.0.1:{port}")


@dataclass(frozen=True)
class Indexed:
    """What came of a job that was killed and run again, on pictures of which one is broken."""

    folder: Path
    acknowledged: dict[str, pb.Background]
    done: subprocess.CompletedProcess[str]
    report: Path


@pytest.fixture(scope="module")
def indexed(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    folder = tmp_path_factory.mktemp("pictures")
    for path in sorted(SAMPLES.glob("*.jpg"))[:COUNT]:
        shutil.copy(path, folder)
    (folder / "zz-broken.jpg").write_bytes(b"no picture")
    report = folder / "report.jsonl"
    arguments = ("jobs.index_library", str(folder), "--library", "job", "--report", str(report))
    killed = subprocess.Popen(servers.command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: bool(servers.stored("job")))
    finally:
        killed.kill()
        killed.wait()
    acknowledged = settled(lambda: servers.stored("job"))
    return Indexed(folder, acknowledged, servers.run(*arguments), report)


def test_killed_it_goes_on_where_it_was(servers: Servers, indexed: Indexed) -> None:
    known = len(indexed.acknowledged)
    assert known < COUNT, "it was not killed in the middle"
    assert f"{COUNT - known} new, {known} unchanged, 1 failed" in indexed.done.stdout
    after = servers.stored("job")
    assert len(after) == COUNT
    assert all(after[name] == before for name, before in indexed.acknowledged.items())


def test_a_bad_picture_is_a_line_in_the_report(indexed: Indexed) -> None:
    assert indexed.done.returncode == 3
    line = json.loads(indexed.report.read_text())
    assert (line["file"], line["reason"]) == ("zz-broken.jpg", "INVALID_ARGUMENT")


def test_the_job_finds_in_every_sample_what_the_service_finds(
    servers: Servers, indexed: Indexed, tmp_path: Path
) -> None:
    servers.run("gateway.cli", "import", str(indexed.folder), "--library", "service")
    ours, theirs = (exported(servers, name, tmp_path / f"{name}.zip") for name in ("job", "service"))
    assert ours.keys() == theirs.keys()
    assert len(ours) == COUNT
    for name, record in ours.items():
        job, service = (np.array(each[name]["search_embedding"]["values"]) for each in (ours, theirs))
        assert job @ service / np.linalg.norm(job) / np.linalg.norm(service) > 0.9999, name
        assert labels(record) == labels(theirs[name]), name


def exported(servers: Servers, library: str, file: Path) -> dict[str, Any]:
    done = servers.run("gateway.cli", "export", str(file), "--library", library)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.startswith("records/")]
        return {name: json.loads(archive.read(name)) for name in names}


def labels(record: dict[str, Any]) -> dict[str, list[str]]:
    return {each["category"]: [label["name"] for label in each["labels"]] for each in record["features"]}


def test_it_says_when_no_gateway_answers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs.index_library", str(tmp_path), "--target", "127.0.0.1:1"]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 1
    assert "No gateway answers at 127.0.0.1:1" in done.stderr


def wait_until(condition: Callable[[], bool], timeout_s: float = 120) -> None:
    """Returns once `condition()` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def settled(look: Callable[[], dict[str, pb.Background]]) -> dict[str, pb.Background]:
    """What is there once it changes no more: what was under way at the kill may still be acknowledged."""
    before = look()
    while True:
        time.sleep(3)
        after = look()
        if len(after) == len(before):
            return after
        before = after
