"""`make bench-telemetry`: what traces and metrics cost a recommendation, with as without in one run."""

import argparse
import statistics
import time
from collections.abc import Mapping
from functools import partial

from rich.table import Table

from benchmarks.cost import Watch, recommend
from benchmarks.samples import PORT, Stack, read_products, running_stack
from gateway.cli.console import stdout
from gateway.cli.stack import GRPC_SERVERS
from tests.servers.otlp_receiver import Receiver, receiving

ROUNDS, PRODUCTS, PHOTOS, REPEATS = 3, 5, 24, 100
"""Stacks of each kind; products in each; new photos, and questions that are remembered, of each of them."""

Seen = dict[str, float]


def main() -> None:
    """Runs the two kinds of stack in turns, and prints medians over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="stacks of each kind, in turns")
    rounds = parser.parse_args().rounds
    without: list[Seen] = []
    traced: list[Seen] = []
    with receiving() as receiver:
        for _ in range(rounds):
            without.append(_measured({}))
            traced.append(_measured(_all_on(receiver)))
        stdout.print(f"{len(receiver.spans):,} spans came")
    table = Table("", "without", "all traced, with metrics", "ratio (of each round)", box=None)
    for what in without[0]:
        pairs = [(one[what], other[what]) for one, other in zip(without, traced, strict=True)]
        before, after = (statistics.median(each) for each in zip(*pairs, strict=True))
        ratios = ", ".join(f"{other / one:.2f}" for one, other in pairs)
        table.add_row(what, f"{before:.2f}", f"{after:.2f}", f"{after / before:.2f} ({ratios})")
    stdout.print(table)


def _all_on(receiver: Receiver) -> Mapping[str, str]:
    names = [server.name.upper() for server in GRPC_SERVERS]
    ports = {f"BACKDROP_{name}_METRICS_PORT": str(PORT + 20 + place) for place, name in enumerate(names)}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **ports}


def _measured(settings: Mapping[str, str]) -> Seen:
    products = [product.file for product in read_products()[:PRODUCTS]]
    new = [(product, number) for number in range(1, PHOTOS + 1) for product in products]
    with running_stack(settings) as stack:
        stack.import_samples("samples", use_manifest=True)
        # Captions are remembered from here on: the language model's time would drown everything.
        for product in products:
            recommend(stack, product, b"", 5)
        watch = Watch(stack)
        seen: Seen = {}
        for what, asked in {
            "new photo, known captions": new,
            "remembered answer": [(product, 0) for _ in range(REPEATS) for product in products],
        }.items():
            took_ms: list[float] = []
            cost = watch.cost(partial(_timed, stack, took_ms), asked)
            seen[f"{what}: CPU-ms of all servers"] = sum(cost.cpu_ms.values())
            seen[f"{what}: p50, ms"] = statistics.median(took_ms)
        return seen


def _timed(stack: Stack, took_ms: list[float], product: str, number: int) -> None:
    started = time.perf_counter()
    recommend(stack, product, bytes(number), 5)
    took_ms.append((time.perf_counter() - started) * 1000)


if __name__ == "__main__":
    main()
