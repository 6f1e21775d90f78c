"""`make bench-replicas`: requests a second with one and with two captioners behind the same gateway's channel.

With a stub whose model takes a fixed time and no processor, which shows what the channel does; and with `--real`, the
real captioner, one thread each, which shows what this machine has cores for.
"""

import argparse
import asyncio
import itertools
import os
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from rich.table import Table

from benchmarks.captioner.processes import running_server
from benchmarks.samples import PRODUCTS
from chassis.probe import is_serving
from gateway.cli.console import stdout
from gateway.domain import Subject
from gateway.peers.captioner import Captioner
from tests.servers.replica import replica

WARM_UP_S = 3.0
CLIENTS = 24
"""Requests in flight: enough for two."""
Server = Callable[[], AbstractContextManager[int]]


def main() -> None:
    """Measures and prints."""
    options = _options()
    server: Server = _real if options.real else lambda: _stub(options.cost_ms / 1000)
    rates: dict[int, list[float]] = {1: [], 2: []}
    table = Table("round", "captioners", "requests a second", "each answered", box=None)
    for number in range(1, options.rounds + 1):
        for count in rates:
            rate, shares = _measure(server, count, options.seconds)
            rates[count].append(rate)
            table.add_row(str(number), str(count), f"{rate:.1f}", shares)
    one, two = (sorted(rates[count])[options.rounds // 2] for count in rates)
    what = "the real captioner" if options.real else f"a stub of {options.cost_ms:g} ms a photo"
    stdout.print(f"With {what}, {CLIENTS} requests in flight, {os.cpu_count()} cores:", table)
    stdout.print(f"Two give {two / one:.2f} times the requests a second of one (medians).")


def _measure(server: Server, count: int, seconds: float) -> tuple[float, str]:
    with ExitStack() as stack:
        ports = [stack.enter_context(server()) for _ in range(count)]
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        answered = asyncio.run(_load(target, seconds))
    return sum(answered.values()) / seconds, " + ".join(map(str, answered.values()))


async def _load(target: str, seconds: float) -> Counter[str]:
    """Closed load: how many calls each model answered in the time that counts."""
    answered: Counter[str] = Counter()
    photos = [path.read_bytes() for path in sorted(PRODUCTS.glob("*.jpg"))]
    numbers = itertools.count()
    begins = time.perf_counter() + WARM_UP_S

    async def call_on(captioner: Captioner) -> None:
        while (now := time.perf_counter()) < begins + seconds:
            number = next(numbers)
            photo = photos[number % len(photos)] + number.to_bytes(8, "big")
            reading = await captioner.read(photo, Subject.PRODUCT, 60)
            if now >= begins:
                answered[reading.model] += 1

    async with Captioner.connect(target) as captioner:
        await asyncio.gather(*(call_on(captioner) for _ in range(CLIENTS)))
    return answered


@contextmanager
def _stub(cost_s: float) -> Iterator[int]:
    with replica("captioner", cost_s) as (_, port):
        yield port


@contextmanager
def _real() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])

    def check() -> None:
        if not is_serving(f"127.0.0.1:{port}"):
            raise ConnectionError("the captioner does not serve")

    environment = {
        "BACKDROP_CAPTIONER_PORT": str(port),
        "BACKDROP_CAPTIONER_CACHE_DIR": str(Path(tempfile.gettempdir()) / "backdrop-bench-replicas"),
    }
    log = Path(tempfile.gettempdir()) / f"backdrop-captioner-{port}.log"
    command: Sequence[str] = [sys.executable, "-m", "services.captioner"]
    with running_server(command, environment, log, check):
        yield port
    log.unlink()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", action="store_true", help="the real captioner instead of the stub")
    parser.add_argument("--cost-ms", type=float, default=20, help="of the stub's model (20)")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement (10)")
    parser.add_argument("--rounds", type=int, default=3, help="one and two in turn, so often (3)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
