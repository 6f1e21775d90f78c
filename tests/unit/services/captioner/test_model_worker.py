"""The model's process: what it tells when the model fails, hangs, ends or cannot be loaded."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chassis.errors import OutOfMemory
from chassis.networks.errors import DeviceLost, ModelFailed, ModelNotLoaded
from services.captioner.config import CaptionerConfig
from services.captioner.errors import ModelRestarting
from services.captioner.image_input import Pixels
from services.captioner.image_text_model import Embeddings, ImageTextModel
from services.captioner.model_worker import LoadModel, ModelWorker
from tests.unit.services.captioner.fakes import ColorModel, load_color_model, model_process

RED = np.full((4, 4, 3), (255, 0, 0), dtype=np.uint8)
GUARD_S = 60


class FragileModel(ColorModel):
    """Does what a text says."""

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        match texts[0]:
            case "exit":
                os._exit(7)
            case "hang":
                time.sleep(GUARD_S)
            case "lose the device":
                raise DeviceLost("The device is lost.")
            case "run out of memory":
                raise OutOfMemory("No memory left.", retry_after_s=1)
            case "crash":
                raise ZeroDivisionError
            case "not a number":
                return np.full((len(texts), 4), np.nan, dtype=np.float32)
        return super().encode_texts(texts)

    def encode_images(self, images: Pixels) -> Embeddings:
        return super().encode_images(images)


def load_fragile_model(config: CaptionerConfig) -> ImageTextModel:
    return FragileModel()


def load_nothing(config: CaptionerConfig) -> ImageTextModel:
    raise ModelNotLoaded("There is no such model.")


def load_and_die(config: CaptionerConfig) -> ImageTextModel:
    sys.exit(3)


@pytest.fixture
def status_changed() -> asyncio.Event:
    return asyncio.Event()


def worker_with(load: LoadModel, tmp_path: Path, status_changed: asyncio.Event, **settings: Any) -> ModelWorker:
    return ModelWorker(CaptionerConfig(cache_dir=tmp_path, **settings), load, status_changed)


async def until_ready(worker: ModelWorker, changed: asyncio.Event) -> None:
    async with asyncio.timeout(GUARD_S):
        while True:
            changed.clear()
            try:
                return await worker.check()
            except ModelRestarting:
                await changed.wait()


async def test_images_and_texts_are_encoded_in_a_process_of_their_own(
    tmp_path: Path, status_changed: asyncio.Event
) -> None:
    async with worker_with(load_color_model, tmp_path, status_changed) as worker:
        await worker.check()
        (image,) = await worker.encode_images([RED])
        texts = await worker.encode_texts(["a red box", "a blue box"])
        process = model_process()

    assert worker.card == ColorModel.card
    assert image @ texts[0] > 0.99
    assert image @ texts[1] < 0.1
    assert not process.is_running()


@pytest.mark.parametrize("order", ["exit", "lose the device"])
async def test_a_model_that_ends_is_started_again_and_health_says_so_meanwhile(
    tmp_path: Path, status_changed: asyncio.Event, order: str
) -> None:
    async with worker_with(load_fragile_model, tmp_path, status_changed) as worker:
        status_changed.clear()
        with pytest.raises(ModelRestarting) as caught:
            await worker.encode_texts([order])
        assert status_changed.is_set()
        with pytest.raises(ModelRestarting):
            await worker.check()
        with pytest.raises(ModelRestarting):
            await worker.encode_images([RED])

        await until_ready(worker, status_changed)

        assert len(await worker.encode_images([RED])) == 1
    assert caught.value.retry_after_s


async def test_a_model_that_hangs_is_ended_and_started_again(tmp_path: Path, status_changed: asyncio.Event) -> None:
    async with worker_with(load_fragile_model, tmp_path, status_changed, model_timeout_s=3) as worker:
        with pytest.raises(ModelRestarting):
            await asyncio.wait_for(worker.encode_texts(["hang"]), GUARD_S)
        await until_ready(worker, status_changed)
        assert len(await worker.encode_texts(["red"])) == 1


@pytest.mark.parametrize(
    ("order", "error"), [("run out of memory", OutOfMemory), ("crash", ModelFailed), ("not a number", ModelFailed)]
)
async def test_an_error_of_the_model_reaches_its_caller_and_the_model_stays(
    tmp_path: Path, status_changed: asyncio.Event, order: str, error: type[Exception]
) -> None:
    async with worker_with(load_fragile_model, tmp_path, status_changed) as worker:
        before = model_process().pid
        with pytest.raises(error) as caught:
            await worker.encode_texts([order])
        assert len(await worker.encode_texts(["red"])) == 1
        assert model_process().pid == before
    assert getattr(caught.value, "retry_after_s", None) == (1 if error is OutOfMemory else None)


@pytest.mark.parametrize(("load", "says"), [(load_nothing, "no such model"), (load_and_die, "exit status 3")])
async def test_a_model_that_cannot_be_loaded_stops_the_start(
    tmp_path: Path, status_changed: asyncio.Event, load: LoadModel, says: str
) -> None:
    with pytest.raises(ModelNotLoaded, match=says):
        async with worker_with(load, tmp_path, status_changed):
            pass
