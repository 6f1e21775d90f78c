"""The soak's figures: per minute, as trends with a verdict, and as a picture."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.captioner.plot import STYLE
from benchmarks.soak.traffic import Call
from benchmarks.soak.trends import Trend, tail
from benchmarks.soak.watching import Holding

PERCENTILES = (50, 95, 99)
GROWTH = 0.05
"""Of the mean: more of it is no flat line."""
LEAST_MS, LEAST_MIB, LEAST_HANDLES = 10.0, 8.0, 4.0
"""Growth that is less than this is none, however small the mean."""

Series = tuple[list[float], list[float]]
"""Seconds, and a value for each."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A series' trend, and whether it is flat."""

    what: str
    unit: str
    trend: Trend
    flat: bool


def verdicts(calls: Sequence[Call], holdings: Sequence[Holding]) -> list[Verdict]:
    """One for each percentile of latency, and for each process's memory, descriptors and threads."""
    found = [_verdict(f"p{percent}", "ms", per_minute(calls, percent), LEAST_MS) for percent in PERCENTILES]
    for process in processes(holdings):
        found += [
            _verdict(process, "MiB", holding_series(holdings, process, "pss_mib"), LEAST_MIB),
            _verdict(process, "descriptors", holding_series(holdings, process, "handles"), LEAST_HANDLES),
            _verdict(process, "threads", holding_series(holdings, process, "threads"), LEAST_HANDLES),
        ]
    return found


def _verdict(what: str, unit: str, series: Series, least: float) -> Verdict:
    fitted = tail(*series)
    return Verdict(what, unit, fitted, fitted.is_flat(GROWTH, least))


def per_minute(calls: Sequence[Call], percent: int) -> Series:
    """The percentile of latency, in milliseconds, of the calls of each whole minute."""
    minutes: dict[int, list[float]] = {}
    for each in calls:
        minutes.setdefault(int(each.due_s // 60), []).append(each.took_s * 1000)
    whole = sorted(minutes)[1:-1]
    return [60.0 * minute for minute in whole], [float(np.percentile(minutes[each], percent)) for each in whole]


def processes(holdings: Sequence[Holding]) -> list[str]:
    """Those that were there more than in passing."""
    seen = Counter(each.process for each in holdings)
    return [name for name, count in seen.items() if count > max(seen.values()) / 2]


def holding_series(holdings: Sequence[Holding], process: str, what: str) -> Series:
    """One figure of a process over time."""
    kept = [each for each in holdings if each.process == process]
    return [each.at_s for each in kept], [float(getattr(each, what)) for each in kept]


def trend_table(found: Sequence[Verdict]) -> Table:
    """A row for each series."""
    table = Table("what", "unit", "mean", "change", "95 % sure", "flat", box=None)
    for each in found:
        line = each.trend
        sure = f"{line.low:+.1f} to {line.high:+.1f}"
        table.add_row(
            each.what, each.unit, f"{line.mean:.1f}", f"{line.change:+.1f}", sure, "yes" if each.flat else "NO"
        )
    return table


def call_table(calls: Sequence[Call]) -> Table:
    """A row for each kind of call."""
    table = Table("kind", "calls", "p50 ms", "p95 ms", "p99 ms", "degraded", "errors", box=None)
    for kind in sorted({each.kind for each in calls}):
        of_kind = [each for each in calls if each.kind == kind]
        took = [f"{np.percentile([each.took_s * 1000 for each in of_kind], p):.0f}" for p in PERCENTILES]
        degraded = sum(bool(each.degraded) for each in of_kind)
        table.add_row(kind, str(len(of_kind)), *took, str(degraded), str(sum(bool(each.reason) for each in of_kind)))
    return table


def reasons(calls: Sequence[Call]) -> Mapping[str, int]:
    """How often each error, and each degradation, was seen."""
    errors = Counter(f"error {each.reason}" for each in calls if each.reason)
    return errors + Counter(f"degraded {part}" for each in calls for part in each.degraded)


def draw(calls: Sequence[Call], holdings: Sequence[Holding], title: str, path: Path) -> None:
    """Latency, memory and handles over time, as a PNG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 9), layout="constrained")
        latency, memory, handles = figure.subplots(3, 1, sharex=True)
        latency.set_title("Latency by minute, ms")
        latency.set_yscale("log")
        for percent in PERCENTILES:
            _line(latency, per_minute(calls, percent), f"p{percent}")
        memory.set_title("Memory, MiB (shared pages in part)")
        handles.set_title("File descriptors, solid, and threads, dotted")
        for number, process in enumerate(processes(holdings)):
            color = f"C{number}"
            _line(memory, holding_series(holdings, process, "pss_mib"), process, color)
            _line(handles, holding_series(holdings, process, "handles"), process, color)
            _line(handles, holding_series(holdings, process, "threads"), "", color, ":")
        handles.set_xlabel("minutes")
        for axes in (latency, memory, handles):
            axes.grid(axis="y")
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        figure.savefig(path, dpi=120, facecolor="white")


def _line(axes: Axes, series: Series, label: str, color: str | None = None, style: str = "-") -> None:
    axes.plot([each / 60 for each in series[0]], series[1], style, label=label or "_", color=color, linewidth=1.4)
