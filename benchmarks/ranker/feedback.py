"""What very much feedback of one library costs: the search for similar products that each request makes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.ranker.store import NO_MODEL, p50_and_p99
from benchmarks.ranker.synthetic import NOISE, SPACE, Synthetic, unit
from gateway.cli.console import stderr
from services.ranker import recommendation_id
from services.ranker.compaction import compact
from services.ranker.config import RankerConfig
from services.ranker.edge_store import EdgeStore, open_edge_folder
from services.ranker.feedback import MOST, Feedback, IndexedFeedback
from services.ranker.index import Index, Version
from services.ranker.recommendation_id import Shown
from services.ranker.signals import Signal, Vectors

SIZES = (1_000, 10_000, 50_000)
LIBRARY = "library-0"
GROUP = 250
SEARCHES = 100


@dataclass(frozen=True)
class Figures:
    """Of so much feedback: p50 and p99 in milliseconds of a search, before and after compaction."""

    recommendations: int
    uncompacted_ms: tuple[float, float]
    compacted_ms: tuple[float, float]


async def measure(library: Synthetic, folder: Path, sizes: Sequence[int] = SIZES) -> list[Figures]:
    """Feedback of one library that grows to each size, beside the backgrounds of all, in a new folder."""
    events = _events(library)
    figures, stored = [], 0
    with open_edge_folder(RankerConfig(store_path=folder)) as home:
        version = await Version.open(NO_MODEL, SPACE, home.open_space(SPACE))
        async with aclosing(Index(version)) as index:
            await home.use(version.store)
            for chunk in library.chunks():
                await index.version.store.upsert(chunk)
            for size in sizes:
                while stored < size:
                    await index.version.store.upsert([next(events) for _ in range(GROUP)])
                    stored += GROUP
                stderr.print(f"feedback on {stored:,} recommendations")
                uncompacted = await _timed(index.version.store, library)
                await compact(index, home)
                figures.append(Figures(size, uncompacted, await _timed(index.version.store, library)))
    return figures


async def _timed(store: EdgeStore, library: Synthetic) -> tuple[float, float]:
    times_ms = []
    for number in range(SEARCHES):
        product = SPACE.layout.vector({Signal.PHOTO: _product(library, number)})
        started = time.perf_counter()
        found = await store.similar_feedback(LIBRARY, product, MOST)
        times_ms.append((time.perf_counter() - started) * 1000)
        if len(found) != MOST:
            raise RuntimeError(f"found feedback on {len(found)} recommendations instead of {MOST}")
    return p50_and_p99(times_ms)


def _events(library: Synthetic) -> Iterator[IndexedFeedback]:
    """One choice among ten for each of very many products, each like one of the queries'."""
    random = np.random.default_rng(0)
    shown = tuple(f"background-{10 * number}" for number in range(10))
    number = 0
    while True:
        product = unit(_product(library, number) + NOISE * unit(random.normal(size=SPACE.image_dimension)))
        feedback = Feedback(
            LIBRARY,
            recommendation_id.encode(Shown(product, SPACE.image_model, shown)),
            (shown[3],),
            (),
            datetime.now(UTC),
        )
        direction = random.normal(size=SPACE.dimension + SPACE.image_dimension).astype(np.float32)
        yield IndexedFeedback(feedback, SPACE.layout.vector({Signal.PHOTO: product}), direction)
        number += 1


def _product(library: Synthetic, number: int) -> Vectors:
    query = library.queries[number % len(library.queries)]
    return unit(query[SPACE.dimension : SPACE.dimension + SPACE.image_dimension])
