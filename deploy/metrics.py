"""All metrics that the code has, read from its registry."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import REGISTRY

ROOT = Path(__file__).parent.parent
FOLDERS = ("chassis", "gateway", "services")


@dataclass(frozen=True, order=True)
class Metric:
    """A metric of ours; its name as Prometheus stores it, without the endings of histograms."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def series(self) -> set[str]:
        """The names of its time series."""
        endings = ("_bucket", "_sum", "_count") if self.kind == "histogram" else ("",)
        return {self.name + ending for ending in endings}

    @property
    def row(self) -> str:
        """It as a row of the table in docs/telemetry.md."""
        labels = ", ".join(f"`{each}`" for each in self.labels)
        return f"| `{self.name}` | {self.kind} | {labels} | {self.meaning} |"


def all_metrics() -> list[Metric]:
    """Those of every module, in the order of their names."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "from prometheus_client import" in path.read_text():
                importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return sorted(_ours())


def _ours() -> Iterator[Metric]:
    # The registry has no public way to the label names of a metric that nothing was observed of yet.
    for collector in set(REGISTRY._collector_to_names):
        for family in collector.collect():
            if family.name.startswith("backdrop_"):
                ending = "_total" if family.type == "counter" else ""
                labels = tuple(getattr(collector, "_labelnames", ()))
                yield Metric(family.name + ending, family.type, labels, family.documentation)


if __name__ == "__main__":
    print(*(each.row for each in all_metrics()), sep="\n")
