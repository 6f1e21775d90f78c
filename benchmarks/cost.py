"""`make bench-cost`: the CPU time of a recommendation in each process, which is what replicas are counted by."""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.table import Table

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.generator.v1 import generator_pb2
from benchmarks.captioner.machine import describe_machine
from benchmarks.generator import TIMEOUT_S, generator
from benchmarks.latency import measure_http
from benchmarks.local_llm import running_llm
from benchmarks.samples import LIBRARY, PRODUCTS, Stack, read_products, running_stack
from gateway.cli.console import stdout

ROUNDS = 3
PREVIEWS = 5
IDLE_S = 5
CANDIDATES = 5
MIB = 2**20
CHILDREN = {"captioner": "captioner's model", "ranker": "ranker's store"}
"""A server's processes of its own."""

COSTS = Path(__file__).parent / "capacity" / "costs.json"

Ask = Callable[[str, int], object]


@dataclass(frozen=True)
class Cost:
    """Of one kind of recommendation, each a mean.

    Attributes:
        runs: that were measured, one after another.
        took_ms: until the client had its answer.
        cpu_ms: by process.
        wire_bytes: over all hops, both directions, with headers.
    """

    runs: int
    took_ms: float
    cpu_ms: dict[str, float]
    wire_bytes: float


class Watch:
    """The CPU time of a stack's processes, less what they take when idle."""

    def __init__(self, stack: Stack) -> None:
        self._processes = named_processes(stack)
        before = self._cpu_s()
        time.sleep(IDLE_S)
        self.idle_cores = {name: (cpu - before[name]) / IDLE_S for name, cpu in self._cpu_s().items()}

    def cost(self, ask: Ask, runs: Sequence[tuple[str, int]]) -> Cost:
        """What `ask` costs for each product and round, one after another."""
        cpu, wire, started = self._cpu_s(), loopback_bytes(), time.perf_counter()
        for product, number in runs:
            ask(product, number)
        took_s = time.perf_counter() - started
        spent = {
            name: max(0.0, after - cpu[name] - self.idle_cores[name] * took_s) * 1000 / len(runs)
            for name, after in self._cpu_s().items()
        }
        return Cost(len(runs), took_s * 1000 / len(runs), spent, (loopback_bytes() - wire) / len(runs))

    def cost_of_import(self, stack: Stack) -> Cost:
        """What each background of the samples costs, with captions that are written anew."""
        count = len(list(LIBRARY.glob("*.jpg")))
        whole = self.cost(lambda product, n: stack.import_samples("samples", use_manifest=True), [("", 0)])
        cpu_ms = {name: each / count for name, each in whole.cpu_ms.items()}
        return Cost(count, whole.took_ms / count, cpu_ms, whole.wire_bytes / count)

    def resident_mib(self) -> dict[str, float]:
        """By process."""
        return {name: sum(each.memory_info().rss for each in group) / MIB for name, group in self._processes.items()}

    def _cpu_s(self) -> dict[str, float]:
        return {name: sum(map(cpu_s, group)) for name, group in self._processes.items()}


def named_processes(stack: Stack) -> dict[str, list[psutil.Process]]:
    """All processes of a stack; those that a server started stand under a name of their own."""
    named: dict[str, list[psutil.Process]] = {}
    for each in stack.supervisor.processes():
        server = psutil.Process(each.pid)
        named.setdefault(each.name, []).append(server)
        for child in server.children(recursive=True):
            named.setdefault(CHILDREN.get(each.name, each.name), []).append(child)
    return named


def cpu_s(process: psutil.Process) -> float:
    """The CPU time of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def loopback_bytes() -> int:
    """Bytes that were sent on this machine, to itself, so far."""
    return int(psutil.net_io_counters(pernic=True)["lo"].bytes_sent)


def recommend(stack: Stack, product: str, more: bytes, limit: int, preview_px: int = 0) -> pb.RecommendResponse:
    """One recommendation; `more` makes another photo of it, `preview_px` asks for previews of that size."""
    image = (PRODUCTS / product).read_bytes() + more
    preview = pb.PreviewOptions(preset=pb.PRESET_SQUARE, size=preview_px) if preview_px else None
    request = pb.RecommendRequest(parent="libraries/samples", image=image, limit=limit, preview=preview)
    return stack.stub.Recommend(request, timeout=60)


def measure(stack: Stack, watch: Watch, products: Sequence[str]) -> tuple[dict[str, Cost], dict[str, Any]]:
    """The cost of each kind of recommendation, and the answers where nothing was known."""
    first = [(product, 0) for product in products]
    every = [(product, number) for number in range(1, ROUNDS + 1) for product in products]
    answers: dict[str, pb.RecommendResponse] = {}

    def ask_first(product: str, number: int) -> pb.RecommendResponse:
        answers[product] = recommend(stack, product, b"", 5)
        return answers[product]

    with httpx.Client(base_url=stack.http_url, timeout=60) as client:
        kinds: dict[str, tuple[Ask, Sequence[tuple[str, int]]]] = {
            "nothing": (ask_first, first),
            "captions": (lambda product, n: recommend(stack, product, bytes(n), 5), every),
            "photo": (lambda product, n: recommend(stack, product, b"", 5 + n), every),
            "answer": (lambda product, n: recommend(stack, product, b"", 5), every),
            "answer, over HTTP": (lambda product, n: measure_http(client, product)[1], every),
            "captions, previews": (
                lambda product, n: recommend(stack, product, bytes(ROUNDS + n), PREVIEWS, 1024),
                every,
            ),
            "answer, new previews": (lambda product, n: recommend(stack, product, b"", PREVIEWS, 1024 - n), every),
        }
        costs = {kind: watch.cost(ask, runs) for kind, (ask, runs) in kinds.items()}
    return costs, answers


def measure_tokens(answers: dict[str, pb.RecommendResponse]) -> tuple[float, float]:
    """Mean tokens that the language model reads and writes for the products' features: it is asked anew."""
    spent = []
    with running_llm() as url, generator(url, {}) as stub:
        for answer in answers.values():
            features = [
                generator_pb2.Feature(category=each.category, labels=[label.name for label in each.labels])
                for each in answer.features
                if each.labels
            ]
            request = generator_pb2.WriteCaptionsRequest(
                features=features, subject=generator_pb2.SUBJECT_PRODUCT, candidate_count=CANDIDATES
            )
            response = stub.WriteCaptions(request, timeout=TIMEOUT_S)
            if not response.cached:
                spent.append((response.usage.prompt_tokens, response.usage.completion_tokens))
    prompt, completion = zip(*spent, strict=True)
    return sum(prompt) / len(spent), sum(completion) / len(spent)


def table_of(costs: dict[str, Cost]) -> Table:
    """A column for each kind of recommendation, CPU-ms in a row for each process."""
    table = Table("CPU-ms, by what is known", *costs, box=None)
    for name in next(iter(costs.values())).cpu_ms:
        table.add_row(name, *(f"{cost.cpu_ms[name]:.1f}" for cost in costs.values()))
    table.add_section()
    table.add_row("together", *(f"{sum(cost.cpu_ms.values()):.0f}" for cost in costs.values()))
    table.add_row("took, ms", *(f"{cost.took_ms:.0f}" for cost in costs.values()))
    table.add_row("kB sent on all hops", *(f"{cost.wire_bytes / 1000:.0f}" for cost in costs.values()))
    table.add_row("runs", *(f"{cost.runs}" for cost in costs.values()))
    return table


def main() -> None:
    """Measures, prints, and writes what the calculator reads."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--out", type=Path, default=COSTS, help="where the figures are written")
    arguments = parser.parse_args()
    with running_stack() as stack:
        watch = Watch(stack)
        imports = watch.cost_of_import(stack)
        costs, answers = measure(stack, watch, [product.file for product in read_products()])
        resident = watch.resident_mib()
    prompt, completion = measure_tokens(answers)
    stdout.print(table_of(costs | {"a background's import": imports}))
    memory = Table("process", "resident MiB", "idle, cores", box=None)
    for name, mib in resident.items():
        memory.add_row(name, f"{mib:.0f}", f"{watch.idle_cores[name]:.3f}")
    stdout.print(memory, f"Tokens of an answer that is not remembered: {prompt:.0f} read, {completion:.0f} written")
    figures = {
        "machine": describe_machine(),
        "previews": PREVIEWS,
        "recommendations": {kind: vars(cost) for kind, cost in costs.items()},
        "import": vars(imports),
        "resident_mib": resident,
        "tokens": {"prompt": prompt, "completion": completion},
    }
    arguments.out.write_text(json.dumps(_rounded(figures), indent=1) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return round(value, 2) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
