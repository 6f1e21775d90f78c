"""The image-text model in a process of its own, which is started again when it ends.

A model can take its process down: by running out of memory, by a fault in native code, by a device that is lost. So it
has one to itself, and the server stays up, says so, and starts another. It also keeps the model's work off the
server's interpreter lock.
"""

import asyncio
import itertools
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import structlog

from chassis import logs
from chassis.errors import BackdropError
from services.captioner.config import CaptionerConfig
from services.captioner.errors import DeviceLost, ModelFailed, ModelNotLoaded, ModelRestarting
from services.captioner.image_input import Pixels
from services.captioner.image_text_model import Embedding, Embeddings, ImageTextModel, ModelCard

log = structlog.get_logger(__name__)

LoadModel = Callable[[CaptionerConfig], ImageTextModel]
Method = Literal["encode_images", "encode_texts"]

_RETRY_AFTER_S = 2.0
# A model that ends as soon as it is loaded is not started again in a tight loop.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 30.0
_STOP_S = 5.0


def load_configured_model(config: CaptionerConfig) -> ImageTextModel:
    """The model that the configuration names, loaded and warm."""
    # Imported here so that only the model's process holds what models need, such as torch.
    from services.captioner.model_loading import open_model

    return open_model(config)


class ModelWorker:
    """Asks the model's process, and keeps one running.

    Args:
        config: of the captioner.
        load: makes the model, in its process; a function of a module, since it is pickled by its name.
        status_changed: set when the process ends and when it is ready again.

    Attributes:
        card: of the loaded model.
    """

    card: ModelCard

    def __init__(self, config: CaptionerConfig, load: LoadModel, status_changed: asyncio.Event) -> None:
        self._config = config
        self._load = load
        self._status_changed = status_changed
        self._ready = False
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        # One sends, and one waits for answers.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="model")

    async def __aenter__(self) -> Self:
        """Starts the process and waits until the model is loaded and warm.

        Raises:
            ModelNotLoaded: with what is wrong.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        self._keeper = asyncio.create_task(self._keep_running(), name="model keeper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)
        await self._stop()

    async def encode_images(self, images: Sequence[Pixels]) -> list[Embedding]:
        """A unit row for each image, which has the size that the card's `image_input` names.

        Raises:
            ModelRestarting: the process has ended, or ended while it worked on these.
            ModelFailed: the model failed on these images.
            OutOfMemory: the device has no memory for so many.
        """
        return _finite_rows(await self._call("encode_images", images))

    async def encode_texts(self, texts: Sequence[str]) -> list[Embedding]:
        """A unit row for each text. Raises as `encode_images` does."""
        return _finite_rows(await self._call("encode_texts", texts))

    async def check(self) -> None:
        """Raises while there is no model to ask."""
        if not self._ready:
            raise ModelRestarting("the model's process has ended and is being started again")
        if self._keeper.done():
            raise RuntimeError("nothing starts the model's process again")

    async def _call(self, method: Method, items: Sequence[Any]) -> Any:
        if not self._ready:
            raise _restarting()
        number, connection = next(self._numbers), self._connection
        answer = self._answers[number] = self._loop.create_future()
        try:
            await self._loop.run_in_executor(self._threads, _send, connection, number, method, items)
            return await asyncio.wait_for(answer, self._config.model_timeout_s)
        except TimeoutError as error:
            log.error("model_hangs", timeout_s=self._config.model_timeout_s)
            # Its end makes the keeper start another one.
            self._process.kill()
            self._set_ready(False)
            raise _restarting() from error
        except OSError as error:
            raise _restarting() from error
        finally:
            self._answers.pop(number, None)

    async def _start(self) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self._config, self._load), name="backdrop model", daemon=True
        )
        await self._loop.run_in_executor(self._threads, self._process.start)
        # Without a copy of theirs here, their end shows as the end of the stream.
        theirs.close()
        try:
            first = await self._loop.run_in_executor(self._threads, self._connection.recv)
        except EOFError as error:
            raise ModelNotLoaded(f"The model's process ended while it loaded, {await self._describe_end()}.") from error
        if isinstance(first, BackdropError):
            raise first
        if first != getattr(self, "card", first):
            raise ModelNotLoaded("The model on disk is not the one that was loaded at first; start the captioner anew.")
        self.card = first
        self._set_ready(True)

    async def _keep_running(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            started = self._loop.time()
            if self._ready:
                await self._loop.run_in_executor(self._threads, self._receive, self._connection)
                self._set_ready(False)
                self._connection.close()
                log.error("model_ended", how=await self._describe_end(), pid=self._process.pid)
            lasted_long = self._loop.time() - started > _LONGEST_PAUSE_S
            pause_s = _FIRST_PAUSE_S if lasted_long else min(2 * pause_s, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)
            try:
                await self._start()
                log.info("model_restarted", pid=self._process.pid)
            except BackdropError as error:
                log.error("model_restart_failed", error=error.message)

    def _receive(self, connection: Connection) -> None:
        """Hands answers to those who wait for them, until the process ends."""
        while True:
            try:
                number, answer = connection.recv()
            except (EOFError, OSError):
                return
            self._loop.call_soon_threadsafe(self._settle, number, answer)

    def _settle(self, number: int, answer: object) -> None:
        waiting = self._answers.pop(number, None)
        if waiting is None or waiting.done():
            return
        if isinstance(answer, BaseException):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)

    def _set_ready(self, ready: bool) -> None:
        self._ready = ready
        if not ready:
            for number in list(self._answers):
                self._settle(number, _restarting())
        self._status_changed.set()

    async def _describe_end(self) -> str:
        await asyncio.to_thread(self._process.join, _STOP_S)
        code = self._process.exitcode
        return f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit status {code}"

    async def _stop(self) -> None:
        self._ready = False
        self._threads.submit(_dismiss, self._connection)
        await asyncio.to_thread(self._process.join, _STOP_S)
        # Nothing happens to a process that has ended.
        self._process.kill()
        # Waits for the thread that receives, which ends with the process.
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._connection.close()
        await asyncio.to_thread(self._process.join)
        self._process.close()


def _restarting() -> ModelRestarting:
    return ModelRestarting("The image-text model is being restarted; try again shortly.", retry_after_s=_RETRY_AFTER_S)


def _send(connection: Connection, number: int, method: Method, items: Sequence[Any]) -> None:
    connection.send((number, method, np.stack(items) if method == "encode_images" else list(items)))


def _dismiss(connection: Connection) -> None:
    with suppress(OSError):
        connection.send(None)


def _finite_rows(rows: Embeddings) -> list[Embedding]:
    if not np.isfinite(rows).all():
        raise ModelFailed("The image-text model gave no finite numbers.")
    return list(rows)


def _serve(connection: Connection, config: CaptionerConfig, load: LoadModel) -> None:
    """The life of the model's process: it ends when the server closes its end of the connection, or has gone."""
    # The server drains at these signals, and needs the model meanwhile.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    logs.configure("captioner", config.log_level, config.log_format)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            model = load(config)
        except BackdropError as error:
            connection.send(error)
            return
        connection.send(model.card)
        while request := connection.recv():
            number, method, argument = request
            connection.send((number, _answer(model, method, argument)))


def _answer(model: ImageTextModel, method: Method, argument: Any) -> object:
    try:
        return model.encode_images(argument) if method == "encode_images" else model.encode_texts(argument)
    except DeviceLost:
        # Only a new process gets the device back.
        raise
    except BackdropError as error:
        return error
    except Exception:
        log.exception("model_crashed")
        return ModelFailed("The image-text model failed on this request.")
