"""Starts every image that `build.sh` made, once, and has them recommend: `python -m deploy.images.start`. Needs root.

Each runs as its image says (user, environment, command) in a chroot of its own, on a read-only root with a writable
`/data` and `/tmp`, until its own health check passes. Then a picture is imported and backgrounds are recommended.
"""

import json
import os
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from backdrop.client import Client, background
from gateway.cli.console import stderr, stdout

ROOT = Path(__file__).parents[2]
STORAGE = Path(os.environ.get("IMAGES_DIR", "/var/tmp/backdrop-images"))
HEALTHY_WITHIN_S = 300.0
PORTS = {"llm": 50054, "generator": 50052, "captioner": 50051, "ranker": 50053, "compositor": 50055, "gateway": 50050}
"""Of the images, in the order of their start."""


@dataclass(frozen=True)
class Image:
    """An image, mounted.

    Attributes:
        root: its files.
        config: as the Dockerfile says: `User`, `Env`, `Cmd`, `Healthcheck`.
    """

    name: str
    root: Path
    config: Mapping[str, Any]

    @property
    def unpacked_mb(self) -> int:
        """The sum of its files, in MB, as engines report it."""
        used = subprocess.run(
            ["du", "-sx", "--apparent-size", "--block-size=1MB", self.root], check=True, capture_output=True, text=True
        )
        return int(used.stdout.split()[0])

    def enter(self, data: Path, command: list[str], settings: Mapping[str, str]) -> list[str]:
        """The command that runs another one in the image, with its user and environment."""
        root, user = shlex.quote(str(self.root)), self.config["User"]
        environment = [*self.config["Env"], *(f"{key}={value}" for key, value in settings.items())]
        inside = ["chroot", f"--userspec={user}:{user}", str(self.root), "env", "--ignore-environment"]
        mounts = [
            f"mount --rbind --make-rprivate {root} {root}",
            f"mount --rbind {shlex.quote(str(data))} {root}/data",
            f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp",
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            f"mount -o remount,bind,ro {root}",
            f"exec {shlex.join([*inside, '--chdir=/data', *environment, *command])}",
        ]
        return ["unshare", "--mount", "sh", "-ec", "\n".join(mounts)]


def main() -> None:
    """Starts the images one after another, recommends, and prints a table of what was seen."""
    table = Table("image", "unpacked", "healthy after", box=None)
    ports = {name: _free_port() for name in PORTS}
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        for name, port in ports.items():
            image = stack.enter_context(_mounted(name))
            data = Path(folder) / name
            data.mkdir()
            os.chown(data, *[int(image.config["User"])] * 2)
            seconds = stack.enter_context(_running(image, data, ports))
            stderr.print(f"{name} is healthy on port {port}")
            table.add_row(name, f"{image.unpacked_mb} MB", f"{seconds:.1f} s")
        _recommend(ports["gateway"])
        stdout.print(table)


@contextmanager
def _mounted(name: str) -> Iterator[Image]:
    container = _buildah("from", f"backdrop/{name}")
    try:
        config = json.loads(_buildah("inspect", "--type", "image", f"backdrop/{name}"))["Docker"]["config"]
        yield Image(name, Path(_buildah("mount", container)), config)
    finally:
        _buildah("rm", container)


@contextmanager
def _running(image: Image, data: Path, ports: Mapping[str, int]) -> Iterator[float]:
    """Runs the image's server inside the `with`, which gives the seconds until it was healthy."""
    started = time.monotonic()
    log = (data / "log").open("w")
    command = [*image.config["Cmd"], *(["--port", str(ports["llm"])] if image.name == "llm" else [])]
    server = subprocess.Popen(image.enter(data, command, _settings(image.name, ports)), stdout=log, stderr=log)
    try:
        while not _is_healthy(image, data, ports):
            if server.poll() is not None or time.monotonic() - started > HEALTHY_WITHIN_S:
                raise SystemExit(f"{image.name} does not become healthy:\n{(data / 'log').read_text()[-3000:]}")
            time.sleep(0.2)
        yield time.monotonic() - started
    finally:
        server.terminate()
        server.wait()


def _is_healthy(image: Image, data: Path, ports: Mapping[str, int]) -> bool:
    usual, port = str(PORTS[image.name]), str(ports[image.name])
    check = [part.replace(usual, port) for part in image.config["Healthcheck"]["Test"][1:]]
    return subprocess.run(image.enter(data, check, {}), capture_output=True, check=False).returncode == 0


def _settings(name: str, ports: Mapping[str, int]) -> dict[str, str]:
    prefix = f"BACKDROP_{name.upper()}"
    settings = {f"{prefix}_PORT": str(ports[name])} if name != "llm" else {}
    if name == "generator":
        settings["BACKDROP_GENERATOR_LLM_URL"] = f"http://127.0.0.1:{ports['llm']}/v1"
    if name == "gateway":
        peers = ("captioner", "generator", "ranker", "compositor")
        settings |= {f"{prefix}_{peer.upper()}_TARGET": f"127.0.0.1:{ports[peer]}" for peer in peers}
        settings |= {f"{prefix}_ALLOW_ANONYMOUS": "true", f"{prefix}_HTTP_PORT": "0"}
    return settings


def _recommend(port: int) -> None:
    """A picture is imported and recommended, with a preview."""
    pictures = sorted((ROOT / "samples/library").glob("*.jpg"))[:3]
    photo = (ROOT / "samples/products/coffee-mug.jpg").read_bytes()
    with Client(f"127.0.0.1:{port}") as backdrop:
        imported = list(
            backdrop.import_backgrounds(background("images", each.stem, each.read_bytes()) for each in pictures)
        )
        answer = backdrop.recommend("images", photo, limit=3, preview={"preset": "PRESET_SQUARE"}, timeout_s=60)
    if len(answer.recommendations) != len(pictures) or len(answer.previews) != len(pictures):
        raise SystemExit(f"The images run, but do not recommend: {imported}, {answer}")
    stdout.print(f"Recommended {len(answer.recommendations)} of {len(pictures)}, degraded: {list(answer.degraded)}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _buildah(*arguments: str) -> str:
    storage = ["--root", str(STORAGE / "storage"), "--runroot", str(STORAGE / "run")]
    done = subprocess.run(["buildah", *storage, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
