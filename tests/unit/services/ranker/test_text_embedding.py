import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from services.ranker.ranking import Vectors
from services.ranker.text_embedding import BATCH_SIZE, TextEmbedder
from tests.unit.services.ranker.fakes import WordCounter


class StuckEncoder(WordCounter):
    """Encodes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.started = threading.Event()
        self.released = threading.Event()

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.started.set()
        self.released.wait(timeout=30)
        return super().encode(texts)


class PoisonedEncoder(WordCounter):
    """Fails on one text."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        if "poison" in texts:
            raise RuntimeError("poisoned")
        return super().encode(texts)


async def test_vectors_stand_in_the_order_of_their_texts() -> None:
    encoder = WordCounter()
    with TextEmbedder(encoder, cache_size=10) as embedder:
        await embedder.embed(["b"])
        vectors = await embedder.embed(["a", "b", "a", "c"])

    np.testing.assert_array_equal(vectors, encoder.encode(["a", "b", "a", "c"]))


async def test_a_text_that_was_embedded_does_not_reach_the_model_again() -> None:
    encoder = WordCounter()
    with TextEmbedder(encoder, cache_size=10) as embedder:
        await embedder.embed(["a", "b", "a"])
        await embedder.embed(["b", "c"])

    assert encoder.batches == [["a", "b"], ["c"]]


async def test_the_text_that_was_used_least_recently_is_forgotten() -> None:
    encoder = WordCounter()
    with TextEmbedder(encoder, cache_size=2) as embedder:
        for text in ["old", "used", "old", "new", "old", "used"]:
            await embedder.embed([text])

    assert encoder.batches == [["old"], ["used"], ["new"], ["used"]]


async def test_more_texts_than_the_cache_holds_are_all_embedded() -> None:
    texts = [f"text {number}" for number in range(2 * BATCH_SIZE + 1)]
    encoder = WordCounter()
    with TextEmbedder(encoder, cache_size=3) as embedder:
        vectors = await embedder.embed(texts)

    assert len(vectors) == len(texts)
    assert [len(batch) for batch in encoder.batches] == [BATCH_SIZE, BATCH_SIZE, 1]


async def test_the_event_loop_goes_on_while_the_model_works() -> None:
    encoder = StuckEncoder()
    with TextEmbedder(encoder, cache_size=10) as embedder:
        embedding = asyncio.create_task(embedder.embed(["a"]))
        await asyncio.sleep(0.02)
        assert not embedding.done()
        encoder.released.set()
        assert (await embedding).shape == (1, 256)


async def test_a_request_waits_for_one_batch_of_an_import_at_most() -> None:
    encoder = StuckEncoder()
    with TextEmbedder(encoder, cache_size=10_000) as embedder:
        importing = asyncio.create_task(embedder.embed([f"caption {number}" for number in range(5 * BATCH_SIZE)]))
        assert await asyncio.to_thread(encoder.started.wait, 60)
        asking = asyncio.create_task(embedder.embed(["question"]))
        await asyncio.sleep(0.02)
        encoder.released.set()
        await asyncio.gather(importing, asking)

    assert encoder.batches.index(["question"]) == 1


async def test_a_failure_of_the_model_reaches_the_caller_and_the_next_call_works() -> None:
    with TextEmbedder(PoisonedEncoder(), cache_size=10) as embedder:
        with pytest.raises(RuntimeError, match="poisoned"):
            await embedder.embed(["a", "poison"])
        assert (await embedder.embed(["a"])).shape == (1, 256)
