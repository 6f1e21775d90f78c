"""Measures the capacity, loads the stack with a share of it for long, and says whether anything grew."""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from benchmarks.soak import report
from benchmarks.soak.traffic import Call, open_traffic, put_closed_load, put_open_load
from benchmarks.soak.watching import Holding, watch
from gateway.cli import stack
from gateway.cli.console import stdout
from gateway.cli.supervision import Supervisor

CLIENTS = 8
"""Callers at once while the capacity is measured."""
WARM_UP_S, CAPACITY_S = 60.0, 120.0


def main() -> int:
    """Runs the soak; 1 when something grew, or a call failed."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="backdrop-soak-") as folder,
        _on_cores(options.cores),
        stack.running(Path(folder), options.port) as supervisor,
    ):
        _use_cores(options.load_cores)
        capacity, calls, holdings = asyncio.run(_soak(options, supervisor))
    _keep(options.out / "calls.jsonl", calls)
    _keep(options.out / "holdings.jsonl", holdings)
    return _report(options, capacity, calls, holdings)


async def _soak(options: argparse.Namespace, supervisor: Supervisor) -> tuple[float, list[Call], list[Holding]]:
    async with open_traffic(f"127.0.0.1:{options.port}") as traffic:
        await traffic.import_libraries()
        await put_closed_load(traffic, CLIENTS, WARM_UP_S)
        capacity = await put_closed_load(traffic, CLIENTS, CAPACITY_S)
        stdout.print(f"Capacity: {capacity:.2f} calls a second; {dict(report.reasons(traffic.calls))}")
        traffic.restart()
        holdings: list[Holding] = []
        watching = asyncio.create_task(watch(supervisor, traffic.now_s, options.every, holdings))
        try:
            await put_open_load(traffic, options.load * capacity, options.minutes * 60)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
    return capacity, traffic.calls, holdings


def _report(options: argparse.Namespace, capacity: float, calls: Sequence[Call], holdings: Sequence[Holding]) -> int:
    found = report.verdicts(calls, holdings)
    title = (
        f"{options.minutes:g} minutes at {options.load:.0%} of {capacity:.2f} calls/s; cores {options.cores or 'all'}"
    )
    report.draw(calls, holdings, title, options.out / "soak.png")
    stdout.print(title, report.call_table(calls), dict(report.reasons(calls)), report.trend_table(found), sep="\n\n")
    summary = {
        "capacity_per_s": capacity,
        "calls": len(calls),
        "reasons": report.reasons(calls),
        "trends": [asdict(each) for each in found],
    }
    (options.out / "soak.json").write_text(json.dumps(summary, indent=1))
    return int(any(each.reason for each in calls) or not all(each.flat for each in found))


def _keep(path: Path, rows: Sequence[Call] | Sequence[Holding]) -> None:
    path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in rows))


@contextmanager
def _on_cores(cores: set[int]) -> Iterator[None]:
    """Processes that are started in the `with` keep to these cores; none for all."""
    before = os.sched_getaffinity(0)
    _use_cores(cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _use_cores(cores: set[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)


def _cores(text: str) -> set[int]:
    return {int(each) for each in text.split(",")}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long (60)")
    parser.add_argument("--load", type=float, default=0.7, help="share of the capacity (0.7)")
    parser.add_argument("--every", type=float, default=10, help="seconds between two looks at the processes (10)")
    parser.add_argument("--cores", type=_cores, default=set(), help="cores of the servers, such as 0,1 (all)")
    parser.add_argument("--load-cores", type=_cores, default=set(), help="cores of the caller (all)")
    parser.add_argument("--port", type=int, default=50350, help="the gateway's; the next six are used too")
    parser.add_argument("--out", type=Path, default=Path("soak"), help="folder for figures and picture (soak/)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
