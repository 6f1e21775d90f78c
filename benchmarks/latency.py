"""`make bench`: what a recommendation costs on the warm embedded stack, stage by stage, and what each process needs."""

import statistics
import time
from collections.abc import Sequence

import httpx
import psutil
from google.protobuf import json_format
from rich.table import Table

from backdrop.gateway.v1 import gateway_pb2 as pb
from benchmarks.samples import PRODUCTS, Stack, read_products, running_stack
from gateway.cli.console import stdout

STAGES = ("features", "captions", "grounding", "embedding", "ranking")
ROUNDS = 5
MIB = 2**20

Run = tuple[float, pb.RecommendResponse]


def measure(stack: Stack, product: str, limit: int = 5, more: bytes = b"") -> Run:
    """One recommendation as its client sees it: milliseconds, and the response.

    Args:
        stack: that is asked.
        product: file of its photo.
        limit: of the request.
        more: bytes after the photo's end, which make another photo of it for the gateway and change nothing else.
    """
    image = (PRODUCTS / product).read_bytes() + more
    request = pb.RecommendRequest(parent="libraries/samples", image=image, limit=limit)
    started = time.perf_counter()
    response = stack.stub.Recommend(request, timeout=60)
    return (time.perf_counter() - started) * 1000, response


def measure_http(client: httpx.Client, product: str) -> Run:
    """The same by HTTP, with the photo as a form's file."""
    files = {"image": (product, (PRODUCTS / product).read_bytes())}
    started = time.perf_counter()
    body = client.post("/v1/libraries/samples:recommend", files=files, data={"limit": "5"}).content
    took_ms = (time.perf_counter() - started) * 1000
    return took_ms, json_format.Parse(body, pb.RecommendResponse())


def summarise(what: str, runs: Sequence[tuple[float, pb.RecommendResponse]]) -> list[str]:
    """A table's row: count, median and worst of the whole, medians of the stages and of the rest, in milliseconds."""
    totals = [total for total, _ in runs]
    stages = [{each.stage: each.duration.ToMicroseconds() / 1000 for each in response.stages} for _, response in runs]
    medians = [statistics.median(each.get(stage, 0.0) for each in stages) for stage in STAGES]
    whole = [statistics.median(totals), max(totals)]
    rest = statistics.median(total - sum(each.values()) for total, each in zip(totals, stages, strict=True))
    return [what, str(len(runs)), *(f"{value:.0f}" for value in [*whole, *medians]), f"{rest:.1f}"]


def rounds(stack: Stack, products: Sequence[str]) -> dict[str, list[Run]]:
    """Further requests for products that were asked for before, by what is known of them."""
    every = [(number, product) for number in range(1, ROUNDS + 1) for product in products]
    with httpx.Client(base_url=stack.http_url, timeout=60) as client:
        return {
            "captions": [measure(stack, product, more=bytes(number)) for number, product in every],
            "photo": [measure(stack, product, limit=5 + number) for number, product in every],
            "answer": [measure(stack, product) for _, product in every],
            "answer (HTTP)": [measure_http(client, product) for _, product in every],
        }


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
        table = Table("known", "runs", "median", "worst", *STAGES, "rest", box=None)
        table.add_row(*summarise("nothing", [measure(stack, product) for product in products]))
        for what, runs in rounds(stack, products).items():
            table.add_row(*summarise(what, runs))
        memory_table = memory(stack)
    stdout.print(f"Import of the samples: {import_s:.1f} s", table, memory_table, sep="\n\n")


if __name__ == "__main__":
    main()
