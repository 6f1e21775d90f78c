"""The image-text model as requests see it: batched over all of them, and with a memory for texts."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from cachetools import LRUCache

from services.captioner.batching import Batched, Batcher
from services.captioner.image_input import Pixels
from services.captioner.image_text_model import Embedding, Embeddings, ModelCard
from services.captioner.label_embeddings import LabelEmbeddings, LabelTexts

REMEMBERED_TEXTS = 4096
"""Embeddings of texts that were scored, kept in memory: some megabytes."""

REMEMBERED_LABEL_BYTES = 64 * 1024 * 1024
"""Embeddings of labels that requests brought along, kept in memory."""


class Encoder(Protocol):
    """A model that encodes one batch after another; `model_worker.ModelWorker` is one."""

    @property
    def card(self) -> ModelCard:
        """Of the model."""
        ...

    async def encode_images(self, images: Sequence[Pixels]) -> Sequence[Embedding]:
        """A unit row for each image."""
        ...

    async def encode_texts(self, texts: Sequence[str]) -> Sequence[Embedding]:
        """A unit row for each text."""
        ...


@dataclass(frozen=True, slots=True)
class Embedded:
    """Embeddings, and what they took.

    Attributes:
        rows: unit rows of shape (items, dimension).
        queue_s: the longest wait for the model; 0 when it was not needed.
        model_s: the model's longest batch.
        batch_size: of that batch.
    """

    rows: Embeddings
    queue_s: float = 0.0
    model_s: float = 0.0
    batch_size: int = 0


class BatchedModel:
    """Embeds images and texts of many requests at once.

    Args:
        encoder: the model.
        max_batch: most images, or texts, in a batch.
        max_wait_s: longest time that an image waits for others to fill its batch.
    """

    def __init__(self, encoder: Encoder, max_batch: int, max_wait_s: float) -> None:
        self.card = encoder.card
        self.images = Batcher("images", encoder.encode_images, max_batch=max_batch, max_wait_s=max_wait_s)
        self.texts = Batcher("texts", encoder.encode_texts, max_batch=max_batch, max_wait_s=max_wait_s)
        self._texts: LRUCache[str, Embedding] = LRUCache(REMEMBERED_TEXTS)
        self._labels: LRUCache[LabelTexts, LabelEmbeddings] = LRUCache(
            REMEMBERED_LABEL_BYTES, getsizeof=lambda labels: labels.nbytes
        )
        self._labels_lock = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.images)
        await self._stack.enter_async_context(self.texts)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def check(self) -> None:
        """Raises when batches are no longer made."""
        await self.images.check()
        await self.texts.check()

    def image_coming(self) -> AbstractContextManager[None]:
        """Announces images, so that a batch may wait for them."""
        return self.images.coming()

    async def embed_images(self, images: Sequence[Pixels], deadline: float | None = None) -> Embedded:
        """Embeds images of the size that the card's `image_input` names. Raises as `Batcher.submit` does."""
        return _gather(await self.images.submit(images, deadline))

    async def embed_texts(self, texts: Sequence[str], deadline: float | None = None) -> Embedded:
        """Embeds texts; those that were embedded before are remembered. Raises as `Batcher.submit` does."""
        known = {text: self._texts[text] for text in texts if text in self._texts}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        computed = await self.texts.submit(missing, deadline) if missing else []
        fresh = {text: each.value for text, each in zip(missing, computed, strict=True)}
        self._texts.update(fresh)
        known |= fresh
        took = _gather(computed) if computed else Embedded(np.empty((0, 0), dtype=np.float32))
        return Embedded(np.stack([known[text] for text in texts]), took.queue_s, took.model_s, took.batch_size)

    async def embed_labels(self, labels: LabelTexts, deadline: float | None = None) -> LabelEmbeddings:
        """Embeds the labels of a category; they are remembered by their content. Raises as `Batcher.submit` does."""
        known = self._labels.get(labels)
        if known is not None:
            return known
        # Requests that bring the same new labels at the same time embed them once.
        async with self._labels_lock:
            known = self._labels.get(labels)
            if known is None:
                known = labels.combine(_gather(await self.texts.submit(labels.texts, deadline)).rows)
                if known.nbytes <= REMEMBERED_LABEL_BYTES:
                    self._labels[labels] = known
            return known


def _gather(batched: Sequence[Batched[Embedding]]) -> Embedded:
    slowest = max(batched, key=lambda each: each.model_s)
    return Embedded(
        rows=np.stack([each.value for each in batched]),
        queue_s=max(each.queue_s for each in batched),
        model_s=slowest.model_s,
        batch_size=slowest.batch_size,
    )
