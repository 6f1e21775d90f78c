"""The results as tables for a person, and as JSON."""

import dataclasses
import json
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from benchmarks.captioner.load import Load
from benchmarks.captioner.results import BARE, SERVICE, Results


def tables(results: Results) -> list[Table]:
    """Everything, the ratios first."""
    return [_ratios(results), _speeds(results), _levels(results), _overload(results)]


def to_json(results: Results) -> str:
    """All raw values, with two digits after the point."""
    return json.dumps(_rounded(dataclasses.asdict(results)), indent=1) + "\n"


def percentile(values: Sequence[float], percent: float) -> float:
    """NaN when there are no values."""
    return float(np.percentile(values, percent)) if values else float("nan")


def _ratios(results: Results) -> Table:
    table = Table("ratios, the median (least to most) of the rounds", "images/s", "p50 of a lone request", box=None)
    for arm in results.arms:
        if arm != SERVICE:
            speed = results.ratio(SERVICE, arm, lambda each: each.images_per_s)
            lone = results.ratio(SERVICE, arm, lambda each: each.lone_p50_ms)
            table.add_row(f"{SERVICE} / {arm}", speed.text(2), lone.text(2))
    return table


def _speeds(results: Results) -> Table:
    columns = ("images/s", "lone p50 ms", "lone p95 ms", "client's cores", "cosine", "failures")
    table = Table("arm", *columns, box=None)
    for arm in results.arms:
        speeds = [each[arm] for each in results.rounds]
        lone_ms = [value for each in speeds for value in each.lone_ms]
        table.add_row(
            arm,
            results.spread(arm, lambda each: each.images_per_s).text(1),
            f"{percentile(lone_ms, 50):.1f}",
            f"{percentile(lone_ms, 95):.1f}",
            "" if arm == BARE else f"{np.mean([each.client_cores for each in speeds]):.2f}",
            f"{results.agreement[arm]:.5f}" if arm in results.agreement else "",
            "" if arm == BARE else str(sum(sum(each.failures.values()) for each in speeds)),
        )
    return table


def _levels(results: Results) -> Table:
    columns = (
        "offered/s",
        "answered/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "rejected",
        "rejected p99 ms",
        "hinted",
        "failed",
    )
    table = Table("times capacity", *columns, box=None)
    for level in results.levels:
        table.add_row(f"{level.times_capacity:g}", *_load_cells(level.load))
    table.add_row("2, at length", *_load_cells(results.overload.load))
    return table


def _load_cells(load: Load) -> list[str]:
    rejections = len(load.rejections_ms)
    return [
        f"{load.offered_per_s:.1f}",
        f"{load.images_per_s:.1f}",
        *(f"{percentile(load.latencies_ms, percent):.0f}" for percent in (50, 95, 99)),
        f"{load.rejected_share:.0%}",
        f"{percentile(load.rejections_ms, 99):.1f}" if rejections else "",
        f"{load.hinted} of {rejections}",
        ", ".join(f"{count} {reason}" for reason, count in load.failures.items()) or "0",
    ]


def _overload(results: Results) -> Table:
    overload = results.overload
    table = Table(f"twice the capacity for {overload.load.seconds:.0f} s", "", box=None)
    table.add_row("best images/s, before or after", f"{overload.best_images_per_s:.1f}")
    table.add_row("share of it that was kept", f"{overload.kept:.2f}")
    memory = overload.memory_mib
    table.add_row("resident MiB: first, most, last", f"{memory[0]:.0f}, {max(memory):.0f}, {memory[-1]:.0f}")
    table.add_row("slope of the second half, MiB/min", f"{overload.memory_mib_per_min:+.1f}")
    return table


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 2 if abs(value) > 1 else 6)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
