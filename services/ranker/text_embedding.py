"""Texts to unit vectors, in a thread of its own, the latest remembered."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from cachetools import LRUCache
from prometheus_client import Counter, Histogram

from chassis.tracing import span
from services.ranker.signals import Vectors

# A request waits for at most one batch of each import that runs beside it, and on a CPU larger ones are hardly faster.
BATCH_SIZE = 8

EMBED_SECONDS = Histogram(
    "backdrop_ranker_embed_seconds",
    "Seconds in the embedding model, by batch.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
)
EMBEDDED_TEXTS = Counter("backdrop_ranker_embedded_texts", "Texts whose vectors were asked for.", ["source"])


class Encoder(Protocol):
    """A sentence-embedding model."""

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    @property
    def dimension(self) -> int:
        """The dimension of its vectors."""
        ...

    @property
    def runtime(self) -> str:
        """What computes it and where, such as `openvino bfloat16 on CPU`."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of at most `BATCH_SIZE` texts, (texts, dimension). Blocks; called by one thread at a time."""
        ...


class TextEmbedder:
    """Embeds texts in a thread of its own and remembers the vectors of the latest.

    Use it as a context manager; it waits for the model at the end.

    Args:
        encoder: the model.
        cache_size: texts to remember.
    """

    def __init__(self, encoder: Encoder, cache_size: int) -> None:
        self._encoder = encoder
        self._vectors: LRUCache[str, Vectors] = LRUCache(cache_size)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    @property
    def model(self) -> str:
        """The name of the model."""
        return self._encoder.model

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of the texts, (texts, dimension); only texts that are not remembered reach the model."""
        known = {text: self._vectors[text] for text in texts if text in self._vectors}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        EMBEDDED_TEXTS.labels("cache").inc(len(known))
        EMBEDDED_TEXTS.labels("model").inc(len(missing))
        loop = asyncio.get_running_loop()
        for start in range(0, len(missing), BATCH_SIZE):
            batch = missing[start : start + BATCH_SIZE]
            with span("embedding", {"backdrop.items": len(batch)}):
                vectors = await loop.run_in_executor(self._thread, self._encode, batch)
            # Copies, for a row of a batch would keep the whole batch in memory.
            known.update((text, vector.copy()) for text, vector in zip(batch, vectors, strict=True))
        self._vectors.update((text, known[text]) for text in missing)
        return np.stack([known[text] for text in texts])

    def _encode(self, texts: list[str]) -> Vectors:
        with EMBED_SECONDS.time():
            return self._encoder.encode(texts)
