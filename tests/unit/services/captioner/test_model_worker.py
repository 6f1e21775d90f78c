"""The model's process: it dies in every way that there is, and another one answers."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from services.captioner.config import CaptionerConfig
from services.captioner.errors import DeviceLost, ModelFailed, ModelNotLoaded, ModelRestarting, OutOfMemory
from services.captioner.image_input import Pixels
from services.captioner.image_text_model import Embeddings, ImageTextModel
from services.captioner.model_worker import LoadModel, ModelWorker
from tests.unit.services.captioner.fakes import ColorModel, load_color_model, model_process, model_processes

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


def load_once(config: CaptionerConfig) -> ImageTextModel:
    """Works the first time that it is called for a cache folder."""
    mark = config.cache_dir / "loaded"
    if mark.exists():
        raise ModelNotLoaded("The weights have gone.")
    mark.touch()
    return ColorModel()


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


async def test_a_model_that_is_killed_fails_what_it_worked_on_and_nothing_after(
    tmp_path: Path, status_changed: asyncio.Event
) -> None:
    async with worker_with(load_fragile_model, tmp_path, status_changed) as worker:
        working = [asyncio.ensure_future(worker.encode_texts([text])) for text in ("hang", "red")]
        await asyncio.sleep(0.2)
        model_process().send_signal(signal.SIGKILL)
        outcomes = await asyncio.wait_for(asyncio.gather(*working, return_exceptions=True), GUARD_S)
        await until_ready(worker, status_changed)
        assert len(await worker.encode_texts(["red"])) == 1

    assert all(isinstance(each, ModelRestarting) for each in outcomes)


async def test_a_model_that_hangs_is_ended_and_started_again(tmp_path: Path, status_changed: asyncio.Event) -> None:
    async with worker_with(load_fragile_model, tmp_path, status_changed, model_timeout_s=0.5) as worker:
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


async def test_a_model_that_cannot_be_loaded_again_leaves_health_saying_so(
    tmp_path: Path, status_changed: asyncio.Event
) -> None:
    async with worker_with(load_once, tmp_path, status_changed) as worker:
        model_process().kill()
        await asyncio.sleep(2)
        with pytest.raises(ModelRestarting):
            await worker.check()
        (tmp_path / "loaded").unlink()
        await until_ready(worker, status_changed)


async def test_the_model_stays_while_the_server_drains(tmp_path: Path, status_changed: asyncio.Event) -> None:
    async with worker_with(load_color_model, tmp_path, status_changed) as worker:
        for each in (signal.SIGTERM, signal.SIGINT):
            model_process().send_signal(each)
        assert len(await worker.encode_texts(["red"])) == 1


def test_a_model_does_not_outlive_its_server(tmp_path: Path) -> None:
    server = psutil.Popen([sys.executable, "-c", ORPHANING, str(tmp_path)], cwd=Path(__file__).parents[4])
    try:
        model = wait_for_model(server)
        server.kill()
        server.wait()
        model.wait(timeout=GUARD_S)
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


ORPHANING = """
import asyncio, pathlib, sys
from services.captioner.config import CaptionerConfig
from services.captioner.model_worker import ModelWorker
from tests.unit.services.captioner.fakes import load_color_model

async def serve():
    async with ModelWorker(CaptionerConfig(cache_dir=pathlib.Path(sys.argv[1])), load_color_model, asyncio.Event()):
        await asyncio.sleep(60)

if __name__ == "__main__":
    asyncio.run(serve())
"""


def wait_for_model(server: psutil.Popen) -> psutil.Process:
    give_up_at = time.monotonic() + GUARD_S
    while time.monotonic() < give_up_at:
        if processes := model_processes(server):
            return processes[0]
        time.sleep(0.05)
    raise TimeoutError("the model's process did not start")
