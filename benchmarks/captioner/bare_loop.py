"""The limit: decoding, preparing and the batched model in one process, with nothing around them."""

import itertools
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chassis.images.decoding import Limits
from services.captioner.config import CaptionerConfig
from services.captioner.image_input import Pixels
from services.captioner.image_text_model import ImageTextModel
from services.captioner.model_loading import load_model
from services.captioner.prepared_photo import prepare

BATCHES = (8, 16, 32)
AHEAD = (0, 1)
"""Batches that are decoded while the model works on another."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """How the loop is run: images a batch, threads that decode, and batches that they are ahead of the model."""

    batch: int
    decoders: int
    ahead: int

    def __str__(self) -> str:
        """For people."""
        overlap = "while the model runs" if self.ahead else "between the model's runs"
        return f"batch {self.batch}, {self.decoders} threads that decode {overlap}"


class BareLoop:
    """The captioner's own decoding and its model, as its settings in the environment have them."""

    def __init__(self) -> None:
        self._model: ImageTextModel = load_model(CaptionerConfig())
        self._limits = Limits()

    @property
    def runtime(self) -> str:
        """What computes the model, and with which numbers."""
        return self._model.card.runtime

    def embed(self, photos: Sequence[bytes]) -> NDArray[np.float32]:
        """A row for each photo."""
        return self._model.encode_images(np.stack([self._prepare(photo) for photo in photos]))

    def find_best(self, photos: Sequence[bytes], seconds: float) -> Configuration:
        """The configuration with the most images a second, `seconds` each."""
        decoders = sorted({1, os.cpu_count() or 1})
        choices = [Configuration(*each) for each in itertools.product(BATCHES, decoders, AHEAD)]
        return max(choices, key=lambda choice: self.images_per_s(photos, choice, seconds))

    def images_per_s(self, photos: Sequence[bytes], configuration: Configuration, seconds: float) -> float:
        """Photos taken in turn, for about `seconds`; the first batch does not count."""
        with ThreadPoolExecutor(configuration.decoders) as executor:
            batches = self._decode_batches(executor, photos, configuration)
            self._model.encode_images(next(batches))
            started, images = time.perf_counter(), 0
            for batch in batches:
                images += len(self._model.encode_images(batch))
                took_s = time.perf_counter() - started
                if took_s >= seconds:
                    break
            executor.shutdown(cancel_futures=True)
        return images / took_s

    def lone_latencies_ms(self, photos: Sequence[bytes], seconds: float) -> list[float]:
        """Photos one after another, each from its bytes to its embedding."""
        self.embed(photos[:1])
        latencies: list[float] = []
        ends = time.perf_counter() + seconds
        for photo in itertools.cycle(photos):
            started = time.perf_counter()
            if started >= ends:
                break
            self.embed([photo])
            latencies.append((time.perf_counter() - started) * 1000)
        return latencies

    def _decode_batches(
        self, executor: Executor, photos: Sequence[bytes], configuration: Configuration
    ) -> Iterator[Pixels]:
        endless = itertools.cycle(photos)

        def submit() -> list[Future[Pixels]]:
            return [executor.submit(self._prepare, photo) for photo in itertools.islice(endless, configuration.batch)]

        pending = deque(submit() for _ in range(configuration.ahead))
        while True:
            pending.append(submit())
            yield np.stack([each.result() for each in pending.popleft()])

    def _prepare(self, photo: bytes) -> Pixels:
        return prepare(photo, self._limits, self._model.card.image_input, cut_out=False).views[0]
