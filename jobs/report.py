"""The report of a job: a line for each picture that failed, with what to do about it."""

import json
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from jobs.workers import Row

ADVICE = {
    "INVALID_ARGUMENT": "Mend the file, or what the manifest says of it, and run the job again.",
    "NOT_IMPORTABLE": "Do as the message says, and run the job again.",
    "PICTURE_UNREADABLE": "Check that the file can be read, and run the job again.",
}
_OTHERWISE = "Run the job again; if it fails again, look at the servers' logs."


class Report:
    """Counts outcomes, and writes failures to a file of JSON lines as they come.

    Attributes:
        counts: of pictures by outcome.
        degraded: of pictures by what was done in another way than usual.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self.degraded: Counter[str] = Counter()
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        # The report of an earlier run would pass for this one's.
        self.path.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def add(self, row: Row) -> None:
        """Takes down what became of a picture."""
        self.counts[row["outcome"]] += 1
        self.degraded.update(filter(None, (row["degraded"] or "").split(",")))
        if row["outcome"] == "failed":
            self._write(row)

    @property
    def total(self) -> int:
        """Pictures with an outcome."""
        return self.counts.total()

    @property
    def read(self) -> int:
        """Pictures that were read and imported."""
        return self.counts["created"] + self.counts["updated"]

    def _write(self, row: Row) -> None:
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8")
        line = {name: row[name] for name in ("file", "reason", "message")}
        line["advice"] = ADVICE.get(row["reason"], _OTHERWISE)
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()
