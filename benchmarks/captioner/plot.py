"""The results as one picture of four panels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.captioner.report import percentile
from benchmarks.captioner.results import BARE, INFINITY, ONE_AT_A_TIME, PRODUCT, SERVICE, Results, Speed

COLORS = {BARE: "#9aa5b1", SERVICE: "#1f6feb", PRODUCT: "#7eb0ff", INFINITY: "#e0a458", ONE_AT_A_TIME: "#c8553d"}
INK, GRID, RED = "#1f2933", "#e4e7eb", "#c8553d"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 11,
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def draw(results: Results, path: Path) -> None:
    """Writes the picture as a PNG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 7.5), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
        top, bottom = figure.subfigures(2, 1, squeeze=False).ravel()
        speed, lone = top.subplots(1, 2, sharey=True)
        load, latency, memory = bottom.subplots(1, 3)
        speed.set_title("Images a second, many requests in flight")
        _draw_bars(speed, results, lambda each: each.images_per_s, "{:.1f}")
        lone.set_title("A lone request: median, ms")
        _draw_bars(lone, results, lambda each: each.lone_p50_ms, "{:.0f}")
        _draw_load(load, results)
        _draw_latency(latency, results)
        _draw_memory(memory, results)
        machine = f"{results.machine['CPU']}, {results.machine['cores']} cores, GPU: {results.machine['GPU']}"
        figure.suptitle(f"{results.runtime}; {machine}", x=0.01, ha="left", fontsize=10)
        figure.savefig(path, dpi=144, facecolor="white")


def _draw_bars(axes: Axes, results: Results, value: Callable[[Speed], float], form: str) -> None:
    """A bar for each arm's median, and a dot for each round."""
    for place, arm in enumerate(reversed(results.arms)):
        spread = results.spread(arm, value)
        axes.barh(place, spread.median, color=COLORS[arm], height=0.62)
        axes.plot(spread.values, [place] * len(spread.values), "o", color=INK, markersize=3.5, alpha=0.55)
        label = form.format(spread.median)
        axes.annotate(
            label, (max(spread.values), place), (8, 0), textcoords="offset points", va="center", weight="bold"
        )
    axes.set_yticks(range(len(results.arms)), list(reversed(results.arms)))
    axes.tick_params(length=0)
    axes.margins(x=0.12)
    axes.grid(axis="x")


def _draw_load(axes: Axes, results: Results) -> None:
    axes.set_title("Requests a second, under open load")
    places = range(len(results.levels))
    answered = [level.load.images_per_s for level in results.levels]
    rejected = [len(level.load.rejections_ms) / level.load.seconds for level in results.levels]
    axes.bar(places, answered, color=COLORS[SERVICE], width=0.6, label="answered")
    axes.bar(places, rejected, bottom=answered, color=RED, alpha=0.35, width=0.6, label="rejected at once")
    axes.legend(loc="upper left", fontsize=9)
    _label_levels(axes, results)


def _draw_latency(axes: Axes, results: Results) -> None:
    axes.set_title("Latency of answers, ms")
    places = range(len(results.levels))
    for percent, line in ((50, "-"), (95, "--"), (99, ":")):
        values = [percentile(level.load.latencies_ms, percent) for level in results.levels]
        axes.plot(places, values, f"o{line}", color=COLORS[SERVICE], markersize=4, label=f"p{percent}")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", fontsize=9)
    _label_levels(axes, results)


def _label_levels(axes: Axes, results: Results) -> None:
    axes.set_xticks(range(len(results.levels)), [f"{level.times_capacity:g} x" for level in results.levels])
    axes.set_xlabel("offered, times the capacity")
    axes.grid(axis="y")


def _draw_memory(axes: Axes, results: Results) -> None:
    memory = results.overload.memory_mib
    axes.set_title("Memory at 2 x, MiB")
    axes.plot(range(1, len(memory) + 1), memory, color=COLORS[SERVICE], linewidth=2)
    axes.set_ylim(0, 1.25 * max(memory))
    axes.set_xlabel(f"seconds; {results.overload.kept:.0%} of the best throughput kept")
    axes.grid(axis="y")
