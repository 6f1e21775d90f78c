"""The embedded store alone: vectors are given, and come from nowhere else."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil

from benchmarks.ranker.synthetic import LIBRARIES, NOW, SPACE, WORDS, Synthetic
from gateway.cli.console import stderr
from services.ranker.background import Condition, Filter, RangeFilter
from services.ranker.compaction import compact
from services.ranker.config import RankerConfig
from services.ranker.edge_store import EdgeFolder, EdgeStore, open_edge_folder
from services.ranker.index import Index, Version
from services.ranker.text_embedding import TextEmbedder
from services.ranker.vector_store import IndexedBackground, Search

LIMIT = 10
IMPORTS_AT_ONCE = 8
CHUNKS_AT_ONCE = 10
GROUP = 250
SURFACES: tuple[Condition, ...] = (Filter("surface", tuple(WORDS[:5])),)
WIDE: tuple[Condition, ...] = (RangeFilter("width", 1200, None),)
# What an index needs of a model here: nothing, since vectors are given.
NO_MODEL = cast(TextEmbedder, None)


@dataclass
class Figures:
    """What was seen of one size; times in milliseconds, by kind of request: p50 and p99."""

    backgrounds: int
    imported_per_s: float = 0.0
    compacted_s: float = 0.0
    reopened_s: float = 0.0
    engine_mib: float = 0.0
    import_peak_mib: float = 0.0
    disk_mib: float = 0.0
    recall: float = 0.0
    numpy_ms: float = 0.0
    one_client_ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    clients_32_ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    clients_32_per_s: dict[str, float] = field(default_factory=dict)
    uncompacted_ms: tuple[float, float] = (0.0, 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


KINDS: dict[str, dict[str, Any]] = {
    "all signals but keywords": {},
    "with keywords": {"words": " ".join(WORDS[:12]), "words_weight": 0.08},
    "filter: 5 of 20 surfaces": {"conditions": SURFACES},
    "filter: width of 1200 on": {"conditions": WIDE},
    "diversity 0.5": {"diversity": 0.5},
}


async def measure(library: Synthetic, folder: Path, searches: int) -> Figures:
    """All figures of the store for one size, in a new folder."""
    figures = Figures(len(library.vectors))
    config = RankerConfig(store_path=folder)
    with open_edge_folder(config) as home:
        version = await Version.open(NO_MODEL, SPACE, home.open_space(SPACE))
        async with aclosing(Index(version)) as index:
            await home.use(version.store)
            with _peak_memory(figures):
                figures.imported_per_s = await _import(index.version.store, library)
            figures.uncompacted_ms, _ = await _timed(index.version.store, library, searches // 4, 1, {})
            started = time.perf_counter()
            await compact(index, home)
            figures.compacted_s = time.perf_counter() - started
    started = time.perf_counter()
    with open_edge_folder(config) as home:
        await _measure_searches(home, library, searches, figures, started)
    figures.disk_mib = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file()) / 2**20
    return figures


async def _measure_searches(
    home: EdgeFolder, library: Synthetic, searches: int, figures: Figures, started: float
) -> None:
    async with home.open_space(SPACE) as store:
        await store.search(_search(library, 0, {}))
        figures.reopened_s = time.perf_counter() - started
        await _timed(store, library, searches, 1, {})
        for kind, settings in KINDS.items():
            figures.one_client_ms[kind], _ = await _timed(store, library, searches, 1, settings)
            figures.clients_32_ms[kind], figures.clients_32_per_s[kind] = await _timed(
                store, library, searches, 32, settings
            )
        figures.numpy_ms = _numpy_ms(library)
        figures.recall = await _recall(store, library, min(searches, 100))
        figures.engine_mib = _engine().memory_info().rss / 2**20


async def _import(store: EdgeStore, library: Synthetic) -> float:
    """Backgrounds a second, of imports that each send a group after the other; without the time of making them up."""
    took_s, done = 0.0, 0
    chunks = library.chunks()
    while items := list(itertools.chain.from_iterable(itertools.islice(chunks, CHUNKS_AT_ONCE))):
        groups = iter([items[start : start + GROUP] for start in range(0, len(items), GROUP)])
        started = time.perf_counter()
        await asyncio.gather(*(_send(store, groups) for _ in range(IMPORTS_AT_ONCE)))
        took_s += time.perf_counter() - started
        done += len(items)
        stderr.print(f"imported {done:,} of {len(library.vectors):,}")
    return len(library.vectors) / took_s


async def _send(store: EdgeStore, groups: Iterator[Sequence[IndexedBackground]]) -> None:
    for group in groups:
        await store.upsert(group)


async def _timed(
    store: EdgeStore, library: Synthetic, searches: int, clients: int, settings: dict[str, Any]
) -> tuple[tuple[float, float], float]:
    """p50 and p99 in milliseconds, and searches a second, of clients that ask one search after the other."""
    numbers = iter(range(searches))
    times_ms: list[float] = []

    async def ask() -> None:
        for number in numbers:
            started = time.perf_counter()
            await store.search(_search(library, number, settings))
            times_ms.append((time.perf_counter() - started) * 1000)

    started = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(clients)))
    return p50_and_p99(times_ms), searches / (time.perf_counter() - started)


def p50_and_p99(times: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    return statistics.median(times), statistics.quantiles(times, n=100, method="inclusive")[98]


def _search(library: Synthetic, number: int, settings: dict[str, Any]) -> Search:
    number %= len(library.queries)
    return Search(f"library-{number % LIBRARIES}", library.queries[number], NOW, limit=LIMIT, **settings)


async def _recall(store: EdgeStore, library: Synthetic, queries: int) -> float:
    """The part of the best ten that is found."""
    found = 0
    for number in range(queries):
        hits = await store.search(_search(library, number, {}))
        numbers = {int(hit.background.name.background.removeprefix("background-")) for hit in hits}
        found += len(numbers & library.nearest(number, LIMIT))
    return found / (queries * LIMIT)


def _numpy_ms(library: Synthetic) -> float:
    """The median time of the best ten of all libraries by numpy, all vectors in memory."""
    times_ms = []
    for query in library.queries[:30]:
        started = time.perf_counter()
        scores = library.vectors @ query
        best = np.argpartition(-scores, LIMIT)[:LIMIT]
        best[np.argsort(-scores[best])]
        times_ms.append((time.perf_counter() - started) * 1000)
    return statistics.median(times_ms)


def _engine() -> psutil.Process:
    return next(each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline()))


@contextmanager
def _peak_memory(figures: Figures) -> Iterator[None]:
    yield
    lines = Path(f"/proc/{_engine().pid}/status").read_text().splitlines()
    peak_kib = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    figures.import_peak_mib = int(peak_kib) / 2**10
