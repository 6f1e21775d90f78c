"""The embedded store at several sizes, and the whole answer: `python -m benchmarks.ranker --sizes 10000 100000`."""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.ranker import answer, feedback, store, synthetic
from benchmarks.ranker.answer import Answers
from benchmarks.ranker.store import Figures
from gateway.cli.console import stderr, stdout

QUERIES = 500
ANSWERED = 10_000
"""Backgrounds that whole answers are measured with."""


def main() -> None:
    """Measures each size in a new folder and a table, a JSON file and a plot of them all."""
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    measured = []
    for size in arguments.sizes:
        stderr.print(f"making up {size:,} backgrounds")
        library = synthetic.make(size, QUERIES, clustered=not arguments.random)
        with tempfile.TemporaryDirectory() as folder:
            measured.append(asyncio.run(store.measure(library, Path(folder) / "store", arguments.searches)))
        stdout.print(_table(measured[-1]))
    with tempfile.TemporaryDirectory() as folder:
        library = synthetic.make(ANSWERED, QUERIES)
        answers = asyncio.run(answer.measure(library, Path(folder) / "store", arguments.searches // 5))
    stdout.print(_answers(answers))
    with tempfile.TemporaryDirectory() as folder:
        stdout.print(_feedback(asyncio.run(feedback.measure(library, Path(folder) / "store"))))
    (arguments.out / "ranker.json").write_text(json.dumps([each.to_json() for each in measured], indent=1))
    if len(measured) > 1:
        _plot(measured, arguments.out / "ranker.png")
    stdout.print(f"Written to {arguments.out}: ranker.json" + (", ranker.png" if len(measured) > 1 else ""))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranker", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], help="backgrounds in ten libraries")
    parser.add_argument("--searches", type=int, default=1000, help="searches of each kind")
    parser.add_argument("--random", action="store_true", help="vectors in all directions instead of around motifs")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of the figures and the plot")
    return parser.parse_args()


def _table(figures: Figures) -> Table:
    table = Table(f"{figures.backgrounds:,} backgrounds in {synthetic.LIBRARIES} libraries", "", box=None)
    p50, p99 = figures.uncompacted_ms
    rows = {
        "import": f"{figures.imported_per_s:,.0f} a second",
        "search before compaction": f"p50 {p50:.1f}, p99 {p99:.1f} ms",
        "compaction": f"{figures.compacted_s:.1f} s, beside searches",
        "reopened and first answer": f"{figures.reopened_s:.2f} s",
        "engine's memory": f"{figures.engine_mib:,.0f} MiB, at import {figures.import_peak_mib:,.0f}",
        "on disk": f"{figures.disk_mib:,.0f} MiB",
        "recall of the best ten": f"{figures.recall:.3f}",
        "numpy over all": f"{figures.numpy_ms:.1f} ms",
    }
    for kind, (p50, p99) in figures.one_client_ms.items():
        p50_32, p99_32 = figures.clients_32_ms[kind]
        rows[f"search, {kind}"] = (
            f"p50 {p50:.1f}, p99 {p99:.1f} ms; 32 clients p50 {p50_32:.0f}, p99 {p99_32:.0f} ms,"
            f" {figures.clients_32_per_s[kind]:,.0f} a second"
        )
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _answers(answers: Answers) -> Table:
    heading = f"whole answers over gRPC, {answer.TEXTS} texts, {ANSWERED:,} backgrounds"
    table = Table(heading, "p50", "p99", box=None)
    for kind, (p50, p99) in answers.times_ms.items():
        table.add_row(kind, f"{p50:.1f} ms", f"{p99:.1f} ms")
    return table


def _feedback(measured: list[feedback.Figures]) -> Table:
    table = Table("feedback of one library", "search for similar products", "after compaction", box=None)
    for each in measured:
        times = [f"p50 {p50:.1f}, p99 {p99:.1f} ms" for p50, p99 in (each.uncompacted_ms, each.compacted_ms)]
        table.add_row(f"on {each.recommendations:,} recommendations", *times)
    return table


def _plot(measured: list[Figures], path: Path) -> None:
    """How a search's cost grows with the libraries."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    sizes = [each.backgrounds for each in measured]
    for kind in store.KINDS:
        axes.loglog(sizes, [each.one_client_ms[kind][0] for each in measured], marker="o", label=kind)
    axes.loglog(sizes, [each.numpy_ms for each in measured], "k--", marker="s", label="numpy over all libraries")
    axes.set_xlabel(f"backgrounds, in {synthetic.LIBRARIES} libraries")
    axes.set_ylabel("one search, p50 in ms")
    axes.grid(which="both", alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
