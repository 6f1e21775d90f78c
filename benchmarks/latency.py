"""`make bench`: what a recommendation costs on the warm embedded stack, stage by stage, and what each process needs."""

import statistics
import time
from collections.abc import Sequence

import psutil
from rich.table import Table

from backdrop.gateway.v1 import gateway_pb2 as pb
from benchmarks.samples import PRODUCTS, Stack, read_products, running_stack
from gateway.cli.console import stdout

STAGES = ("features", "captions", "grounding", "ranking")
CACHED_ROUNDS = 5
MIB = 2**20


def measure(stack: Stack, product: str) -> tuple[float, pb.RecommendResponse]:
    """One recommendation as its client sees it: milliseconds, and the response."""
    request = pb.RecommendRequest(parent="libraries/samples", image=(PRODUCTS / product).read_bytes())
    started = time.perf_counter()
    response = stack.stub.Recommend(request, timeout=60)
    return (time.perf_counter() - started) * 1000, response


def summarise(what: str, runs: Sequence[tuple[float, pb.RecommendResponse]]) -> list[str]:
    """A table's row: count, median and worst of the whole, medians of the stages, all in milliseconds."""
    totals = [total for total, _ in runs]
    stages = [{each.stage: each.duration.ToMicroseconds() / 1000 for each in response.stages} for _, response in runs]
    medians = [statistics.median(each.get(stage, 0.0) for each in stages) for stage in STAGES]
    whole = [statistics.median(totals), max(totals)]
    return [what, str(len(runs)), *(f"{value:.0f}" for value in [*whole, *medians])]


def memory(stack: Stack) -> Table:
    """Resident memory of each process, and what all take together when shared pages count once."""
    table = Table("process", "resident MiB", "proportional MiB", box=None)
    total = 0.0
    for process in stack.supervisor.processes():
        server = psutil.Process(process.pid)
        # The captioner's model has a process of its own.
        for each in (server, *server.children(recursive=True)):
            info = each.memory_full_info()
            total += info.pss / MIB
            table.add_row(process.name if each == server else "", f"{info.rss / MIB:.0f}", f"{info.pss / MIB:.0f}")
    table.add_section()
    table.add_row("together", "", f"{total:.0f}")
    return table


def main() -> None:
    """Measures and prints."""
    products = [product.file for product in read_products()]
    with running_stack() as stack:
        started = time.perf_counter()
        stack.import_samples("samples", use_manifest=True)
        import_s = time.perf_counter() - started
        generated = [measure(stack, product) for product in products]
        cached = [measure(stack, product) for _ in range(CACHED_ROUNDS) for product in products]
        memory_table = memory(stack)
    table = Table("captions", "runs", "median ms", "worst ms", *STAGES, box=None)
    table.add_row(*summarise("generated", generated))
    table.add_row(*summarise("cached", cached))
    stdout.print(f"Import of the samples: {import_s:.1f} s", table, memory_table, sep="\n\n")


if __name__ == "__main__":
    main()
