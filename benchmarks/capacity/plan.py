"""How many of each part a load and a library need: plain arithmetic on measured figures (docs/scaling.md)."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
HOURS_A_MONTH = 730
DAY_S = 86_400
GB, GIB, MIB = 1e9, 2**30, 2**20

SERVICES = {
    "gateway": (("gateway",), 1),
    "captioner": (("captioner", "captioner's model"), 2),
    "generator": (("generator",), 1),
    "ranker": (("ranker",), 2),
    "compositor": (("compositor",), 2),
}
"""Each service's processes, and the cores of a pod: the gateway and the generator are one event loop each."""
LEAST_REPLICAS = 2
VIEWS = 2
"""Of a product's photo: the whole of it, and the product alone."""


@dataclass(frozen=True)
class Load:
    """What is asked of an installation.

    Attributes:
        rps: recommendations a second at the peak.
        backgrounds: of all libraries.
        largest_library: backgrounds of the library that searches go to.
        answer_hit: part of the requests that the gateway answers from memory.
        photo_hit: part of the others whose photo it has read before.
        caption_hit: part of the rest whose features the generator has captions for.
        preview_share: part of all requests that want five new previews.
        busy: mean load as a part of the peak, for what is paid by use.
    """

    rps: float
    backgrounds: float
    largest_library: float = 10_000
    answer_hit: float = 0.0
    photo_hit: float = 0.0
    caption_hit: float = 0.9
    preview_share: float = 0.0
    busy: float = 1.0

    @property
    def shares(self) -> dict[str, float]:
        """Of the requests, by what is known."""
        worked = 1 - self.answer_hit
        read = worked * (1 - self.photo_hit)
        return {
            "answer": self.answer_hit,
            "photo": worked * self.photo_hit,
            "captions": read * self.caption_hit,
            "nothing": read * (1 - self.caption_hit),
        }


@dataclass(frozen=True)
class Choices:
    """How it is run.

    Attributes:
        utilisation: that a pod's cores are loaded to at the peak.
        views_per_gpu_s: views of photos that one GPU embeds a second (`make bench-captioner` there); None: CPUs do it.
        node_gib: memory of a Qdrant node.
        node_cores: of a Qdrant node.
        node_fill: part of its memory that data may take.
        copies: of each shard.
        quantised: 2-bit codes in memory and vectors on the disk, instead of all of it in memory.
        import_cores: cores that read pictures when everything is imported.
    """

    utilisation: float = 0.6
    views_per_gpu_s: float | None = None
    node_gib: float = 64
    node_cores: float = 16
    node_fill: float = 0.7
    copies: int = 2
    quantised: bool = True
    import_cores: float = 64


@dataclass(frozen=True)
class Prices:
    """In one currency; nothing costs anything until it is given a price."""

    core_hour: float = 0
    gib_hour: float = 0
    gpu_hour: float = 0
    disk_gb_month: float = 0
    object_gb_month: float = 0
    prompt_tokens: float = 0
    completion_tokens: float = 0


@dataclass(frozen=True)
class Part:
    """So many of one thing, for the whole installation."""

    name: str
    replicas: int
    cores: float
    memory_gib: float
    gpus: int = 0
    disk_gb: float = 0
    note: str = ""

    def monthly(self, prices: Prices) -> float:
        """What it costs a month."""
        hourly = self.cores * prices.core_hour + self.memory_gib * prices.gib_hour + self.gpus * prices.gpu_hour
        return hourly * HOURS_A_MONTH + self.disk_gb * prices.disk_gb_month


@dataclass(frozen=True)
class Plan:
    """All that a load needs.

    Attributes:
        parts: services and store.
        pictures_gb: in the object store.
        tokens_per_s: that the language model reads and writes at the peak.
        answers_per_s: of the language model, at the peak.
        photos_mb_s: megabytes of photos and answers on all hops.
        import_days: reading all backgrounds once.
    """

    parts: tuple[Part, ...]
    pictures_gb: float
    tokens_per_s: tuple[float, float]
    answers_per_s: float
    photos_mb_s: float
    import_days: float

    def tokens_monthly(self, prices: Prices, busy: float) -> float:
        """What the language model costs a month when it is paid by the token (prices are for a million)."""
        read, written = self.tokens_per_s
        per_s = (read * prices.prompt_tokens + written * prices.completion_tokens) / 1e6
        return per_s * busy * 3600 * HOURS_A_MONTH


class Figures:
    """What was measured."""

    def __init__(self, costs: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        self.costs = costs
        self._figures = figures

    @classmethod
    def read(cls, costs: Path = FOLDER / "costs.json", figures: Path = FOLDER / "figures.json") -> "Figures":
        """From the files of `make bench-cost`, and of figures with their sources."""
        return cls(json.loads(costs.read_text()), json.loads(figures.read_text()))

    def value(self, group: str, name: str) -> float:
        """A figure of figures.json."""
        return float(self._figures[group][name]["value"])

    def cpu_ms(self, load: Load, process: str) -> float:
        """CPU time of a process for a recommendation, on the mean of the load."""
        kinds = self.costs["recommendations"]
        known = sum(share * float(kinds[kind]["cpu_ms"][process]) for kind, share in load.shares.items())
        return known + load.preview_share * float(kinds["answer, new previews"]["cpu_ms"][process])

    def wire_bytes(self, load: Load) -> float:
        """Bytes of a recommendation on all hops, on the mean of the load."""
        kinds = {each: float(cost["wire_bytes"]) for each, cost in self.costs["recommendations"].items()}
        # What the language model is told is little, and a run that waits seconds for it counts other traffic as well.
        kinds["nothing"] = kinds["captions"]
        known = sum(share * kinds[kind] for kind, share in load.shares.items())
        return known + load.preview_share * kinds["answer, new previews"]

    def search_ms(self, library: float) -> float:
        """CPU time of a search in a library of that size, all of it compared."""
        return self.value("search", "fixed_ms") + self.value("search", "ms_per_1000") * library / 1000

    def resident_gib(self, processes: tuple[str, ...]) -> float:
        """Memory of a pod with those processes."""
        return sum(float(self.costs["resident_mib"][each]) for each in processes) * MIB / GIB

    def bytes_in_memory(self, quantised: bool) -> float:
        """Of a background, in the store."""
        if not quantised:
            return self.value("stored_bytes", "memory")
        return sum(self.value("stored_bytes", each) for each in ("codes", "graph", "payload_index"))


def plan(load: Load, choices: Choices, figures: Figures) -> Plan:
    """What the load needs."""
    services = [_service(name, load, choices, figures) for name in SERVICES]
    answers_per_s = load.rps * load.shares["nothing"]
    tokens = figures.costs["tokens"]
    importing_ms = sum(ms for process, ms in figures.costs["import"]["cpu_ms"].items() if process != "llm")
    return Plan(
        parts=(*services, _store(load, choices, figures)),
        pictures_gb=load.backgrounds * figures.value("stored_bytes", "picture") / GB,
        tokens_per_s=(answers_per_s * tokens["prompt"], answers_per_s * tokens["completion"]),
        answers_per_s=answers_per_s,
        photos_mb_s=load.rps * figures.wire_bytes(load) / 1e6,
        import_days=load.backgrounds * importing_ms / 1000 / choices.import_cores / DAY_S,
    )


def _service(name: str, load: Load, choices: Choices, figures: Figures) -> Part:
    processes, pod_cores = SERVICES[name]
    busy = load.rps * sum(figures.cpu_ms(load, each) for each in processes) / 1000
    if name == "captioner" and choices.views_per_gpu_s:
        return _captioner_with_gpus(choices.views_per_gpu_s, load, choices, figures)
    replicas = max(LEAST_REPLICAS, math.ceil(busy / choices.utilisation / pod_cores))
    memory_gib = replicas * figures.resident_gib(processes)
    return Part(name, replicas, replicas * pod_cores, memory_gib, note=f"{busy:.1f} cores busy")


def _captioner_with_gpus(views_per_gpu_s: float, load: Load, choices: Choices, figures: Figures) -> Part:
    """A GPU a pod, and as many cores as its photos need before and after the model."""
    processes, pod_cores = SERVICES["captioner"]
    read_per_s = load.rps * (load.shares["captions"] + load.shares["nothing"])
    replicas = max(LEAST_REPLICAS, math.ceil(read_per_s * VIEWS / views_per_gpu_s / choices.utilisation))
    busy = load.rps * figures.cpu_ms(load, "captioner") / 1000
    cores = replicas * max(pod_cores, math.ceil(busy / choices.utilisation / replicas))
    memory_gib = replicas * figures.resident_gib(processes)
    return Part("captioner", replicas, cores, memory_gib, gpus=replicas, note=f"{busy:.1f} cores busy")


def _store(load: Load, choices: Choices, figures: Figures) -> Part:
    memory_gib = load.backgrounds * figures.bytes_in_memory(choices.quantised) / GIB
    shards = max(1, math.ceil(memory_gib / (choices.node_gib * choices.node_fill)))
    searches = load.rps * (1 - load.answer_hit)
    busy = searches * figures.search_ms(load.largest_library) / 1000
    by_cores = math.ceil(busy / choices.utilisation / choices.node_cores)
    nodes = max(shards * choices.copies, by_cores)
    return Part(
        "Qdrant node",
        nodes,
        nodes * choices.node_cores,
        nodes * choices.node_gib,
        disk_gb=load.backgrounds * figures.value("stored_bytes", "disk") * choices.copies / GB,
        note=f"{shards} shards, {memory_gib:.0f} GiB a copy, {busy:.1f} cores busy",
    )
