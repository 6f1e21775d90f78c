"""Runs the simulations, and draws them: `python -m benchmarks.capacity.simulations` writes docs/scaling-*.png."""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.capacity import cache_hits
from benchmarks.capacity.cache_hits import Demand
from benchmarks.capacity.captioner_queue import (
    Captioner,
    Chooser,
    Replica,
    arrivals,
    least_request,
    round_robin,
    simulate,
)
from benchmarks.capacity.load_curve import Fit, percentiles
from benchmarks.captioner.plot import STYLE
from gateway.cli.console import stdout

UTILISATIONS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
REPLICAS, SECONDS, BURST = 8, 300, 8
COLORS = ("#1f6feb", "#e0a458", "#2f855a", "#c8553d")


def main() -> None:
    """Simulates, prints and draws."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity.simulations", description=__doc__)
    parser.add_argument(
        "--curve", type=Path, default=Path(__file__).parent / "load_curve.json", help="a measured captioner"
    )
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the pictures")
    arguments = parser.parse_args()
    curve = json.loads(arguments.curve.read_text())
    with mpl.rc_context(STYLE):
        _draw_captioner(curve, arguments.out / "scaling-captioner.png")
        _draw_caches(arguments.out / "scaling-caches.png")


def _draw_captioner(curve: Any, path: Path) -> None:
    captioner = Captioner.fitted(Fit(**curve["fit"]))
    stdout.print(str(captioner), f"capacity {captioner.capacity_per_s:.1f} photos a second")
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    spread, slow = figure.subplots(1, 2, sharey=True)
    _check(curve, captioner)
    _draw_balancing(spread, [captioner] * REPLICAS, "Eight replicas: p99, ms")
    _draw_balancing(slow, [*[captioner] * (REPLICAS - 1), captioner.slower(2)], "One of eight at half speed: p99, ms")
    figure.savefig(path, dpi=140, facecolor="white")


def _check(curve: Any, captioner: Captioner) -> None:
    """What was measured, and the simulation of the same load; latencies where they were measured."""
    table = Table("offered", "answered a second", "simulated", "refused", "simulated", "p99 ms", "simulated", box=None)
    for level in curve["levels"]:
        run = _one(captioner, level["offered_per_s"], curve["seconds"])
        refused = level["rejected"] / (level["offered_per_s"] * curve["seconds"])
        cells = [f"{level['answered_per_s']:.1f}", f"{run['answered_per_s']:.1f}", f"{refused:.1%}"]
        p99 = f"{level['p99_ms']:.0f}" if "p99_ms" in level else ""
        cells += [f"{run['refused']:.1%}", p99, f"{run['p99']:.0f}"]
        table.add_row(f"{level['offered_per_s']:.1f}", *cells)
    stdout.print(table)


def _one(captioner: Captioner, per_s: float, seconds: float) -> dict[str, float]:
    chance = random.Random(2)
    replicas = simulate([captioner], arrivals(per_s, seconds, chance), round_robin(1, chance))
    return {**_seen(replicas), "answered_per_s": len(replicas[0].latencies_s) / seconds}


def _seen(replicas: Sequence[Replica]) -> dict[str, float]:
    latencies_ms = [each * 1000 for replica in replicas for each in replica.latencies_s]
    refused = sum(each.refused for each in replicas)
    return {**percentiles(latencies_ms), "refused": refused / (refused + len(latencies_ms))}


def _draw_balancing(axes: Axes, captioners: Sequence[Captioner], title: str) -> None:
    """The 99th percentile by how replicas are chosen and how photos come."""
    chance = random.Random(3)
    ways: dict[str, tuple[Callable[[], Chooser], float]] = {
        "round robin": (lambda: round_robin(4, chance), 1),
        "least request": (lambda: least_request(chance), 1),
        f"round robin, bursts of {BURST}": (lambda: round_robin(4, chance), BURST),
        f"least request, bursts of {BURST}": (lambda: least_request(chance), BURST),
    }
    table = Table(title, *(f"{each:.0%}" for each in UTILISATIONS), box=None)
    whole_per_s = sum(each.capacity_per_s for each in captioners)
    for (name, (choose, burst)), color in zip(ways.items(), COLORS, strict=True):
        seen = []
        for utilisation in UTILISATIONS:
            times = arrivals(utilisation * whole_per_s, SECONDS, chance, burst)
            size = lambda: chance.lognormvariate(-0.11, 0.47)  # noqa: E731  mean 1, deviation 0.5
            seen.append(_seen(simulate(captioners, times, choose(), size)))
        cells = [f"{each['p99']:.0f}" + (f" ({each['refused']:.1%})" if each["refused"] else "") for each in seen]
        table.add_row(name, *cells)
        axes.plot(UTILISATIONS, [each["p99"] for each in seen], "o-", color=color, markersize=4, label=name)
    stdout.print(table)
    _finish(axes, title)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("offered, as a part of the capacity")
    axes.set_yscale("log")
    axes.set_yticks((100, 200, 500, 1000, 2000, 5000), ("100", "200", "500", "1,000", "2,000", "5,000"))
    axes.minorticks_off()
    axes.set_ylim(80, 20_000)
    axes.grid(which="major")
    axes.legend(loc="upper left", fontsize=8)


def _draw_caches(path: Path) -> None:
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    gateway, generator = figure.subplots(1, 2, sharey=True)
    _draw_gateway_cache(gateway)
    _draw_generator_cache(generator)
    figure.savefig(path, dpi=140, facecolor="white")


def _draw_gateway_cache(axes: Axes) -> None:
    """20,000 photos, asked for 100 times a second, for 600 s: by entries and replicas."""
    sizes = (64, 256, 1024, 4096, 16384)
    table = Table("gateway's cache: entries", *(f"{each:,}" for each in sizes), box=None)
    for replicas, color in zip((1, 4, 16), COLORS, strict=False):
        demand = Demand(20_000, 1.0, per_s=100)
        found = [
            cache_hits.simulate(demand, each, replicas=replicas, ttl_s=600, requests=240_000).found for each in sizes
        ]
        table.add_row(f"{replicas} replicas", *(f"{each:.0%}" for each in found))
        axes.semilogx(sizes, found, "o-", base=2, color=color, label=f"{replicas} replica{'s' * (replicas > 1)}")
    stdout.print(table)
    axes.axvline(256, color="#9aa5b1", linestyle=":")
    axes.annotate("default", (256, 0.95), (4, 0), textcoords="offset points", fontsize=8)
    axes.set_xticks(sizes, [f"{each:,}" for each in sizes])
    _finish_cache(axes, "Gateway: 20,000 photos, 100 a second", "photos remembered in each replica")


def _draw_generator_cache(axes: Axes) -> None:
    """A cache of 10,000 answers: by how many sets of features there are."""
    things = (1_000, 10_000, 100_000, 1_000_000)
    ways = {"one cache (Redis)": 1, "4 replicas, each its own": 4, "16 replicas, each its own": 16}
    table = Table("generator's cache: sets of features", *(f"{each:,}" for each in things), box=None)
    for (name, replicas), color in zip(ways.items(), COLORS, strict=False):
        hits = [
            cache_hits.simulate(Demand(each, 1.0, per_s=100), 10_000, replicas=replicas, takes_s=2, requests=300_000)
            for each in things
        ]
        cells = [f"{each.found:.0%} + {each.joined:.1%}" for each in hits]
        table.add_row(name, *cells)
        axes.semilogx(things, [each.found + each.joined for each in hits], "o-", color=color, label=name)
    stdout.print(table)
    axes.set_xticks(things, [f"{each:,}" for each in things])
    _finish_cache(axes, "Generator: 10,000 answers kept, 100 a second", "different sets of features")


def _finish_cache(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(label)
    axes.set_ylabel("found")
    axes.set_ylim(0, 1.05)
    axes.minorticks_off()
    axes.grid(which="major")
    axes.legend(loc="lower right", fontsize=9)


if __name__ == "__main__":
    main()
