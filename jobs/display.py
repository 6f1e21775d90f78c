"""How far a job is, how fast, for how long, and what it costs; and in the end what came of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli.console import out, stderr
from jobs.pictures import SourceUnusable, list_files
from jobs.report import Report


class Display:
    """Shows a job while it runs.

    Args:
        source: of the pictures; they are counted beside the work, for the time that is left.
        price_per_hour: of all machines together; None shows no cost.
    """

    def __init__(self, source: str, price_per_hour: float | None) -> None:
        self._source = source
        self._price_per_hour = price_per_hour
        self._started = time.monotonic()
        self._total: int | None = None
        columns = (TextColumn("Indexing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=stderr)
        self._task = self._progress.add_task("loading the model", total=None)

    @contextmanager
    def shown(self) -> "Iterator[Display]":
        """The clock runs, and the bar is on the screen, for the time of the `with`."""
        self._started = time.monotonic()
        Thread(target=self._count, daemon=True).start()
        with self._progress:
            yield self

    def update(self, report: Report) -> None:
        """Shows what is done by now."""
        words = self._words(report)
        self._progress.update(self._task, completed=report.total, total=self._total, description=words)

    def summary(self, report: Report) -> None:
        """Prints what came of it."""
        counts = ", ".join(f"{report.counts[name]} {word}" for name, word in _WORDS.items() if report.counts[name])
        took_s = time.monotonic() - self._started
        out(f"{report.total} pictures in {took_s:.0f} s: {counts or 'none'}.{self._cost(took_s)}")
        if report.degraded:
            out("Degraded: " + ", ".join(f"{reason} {count}" for reason, count in report.degraded.items()) + ".")
        if report.counts["failed"]:
            out(f"What failed, why, and what to do: {report.path}")

    def _words(self, report: Report) -> str:
        took_s = time.monotonic() - self._started
        rate = report.total / took_s if took_s else 0.0
        words = [f"{rate:.1f} images/s"]
        if report.counts["failed"]:
            words.append(f"{report.counts['failed']} failed")
        if self._total and rate:
            left_s = (self._total - report.total) / rate
            words.append(f"{_duration(left_s)} left")
            return ", ".join(words) + self._cost(took_s, took_s + left_s)
        return ", ".join(words) + self._cost(took_s)

    def _cost(self, took_s: float, whole_s: float | None = None) -> str:
        if self._price_per_hour is None:
            return ""
        spent = f" Cost {self._price_per_hour * took_s / 3600:.2f}"
        return spent if whole_s is None else f"{spent} of {self._price_per_hour * whole_s / 3600:.2f}"

    def _count(self) -> None:
        try:
            self._total = sum(len(page) for page in list_files(self._source))
        except SourceUnusable:
            # The listing that the work goes by will say so.
            return


_WORDS = {"created": "new", "updated": "updated", "unchanged": "unchanged", "failed": "failed"}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
