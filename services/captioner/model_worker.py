"""The image-text model in a process of its own, which is started again when it ends.

A model can take its process down: by running out of memory, by a fault in native code, by a device that is lost. Its
work also stays off the server's interpreter lock.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np

from chassis.child_process import ChildProcess
from chassis.networks.errors import DeviceLost, ModelFailed, ModelNotLoaded
from services.captioner.config import CaptionerConfig
from services.captioner.errors import ModelRestarting
from services.captioner.image_input import Pixels
from services.captioner.image_text_model import Embedding, Embeddings, ImageTextModel, ModelCard

LoadModel = Callable[[CaptionerConfig], ImageTextModel]

_RETRY_AFTER_S = 2.0


def load_configured_model(config: CaptionerConfig) -> ImageTextModel:
    """The model that the configuration names, loaded and warm."""
    # Imported here so that only the model's process holds what models need, such as torch.
    from services.captioner.model_loading import open_model

    return open_model(config)


class ModelWorker(ChildProcess):
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
        super().__init__(
            partial(_open_model, load),
            config,
            service="captioner",
            name="backdrop model",
            restarting=_restarting,
            not_started=_not_loaded,
            failed=_failed,
            status_changed=status_changed,
            timeout_s=config.model_timeout_s,
            # Only a new process gets the device back.
            fatal=(DeviceLost,),
        )

    async def encode_images(self, images: Sequence[Pixels]) -> list[Embedding]:
        """A unit row for each image, which has the size that the card's `image_input` names.

        Raises:
            ModelRestarting: the process has ended, or ended while it worked on these.
            ModelFailed: the model failed on these images.
            OutOfMemory: the device has no memory for so many.
        """
        return _finite_rows(await self.call("encode_images", await asyncio.to_thread(np.stack, images)))

    async def encode_texts(self, texts: Sequence[str]) -> list[Embedding]:
        """A unit row for each text. Raises as `encode_images` does."""
        return _finite_rows(await self.call("encode_texts", list(texts)))


def _open_model(load: LoadModel, config: CaptionerConfig) -> AbstractContextManager[ImageTextModel]:
    return nullcontext(load(config))


def _restarting() -> ModelRestarting:
    return ModelRestarting("The image-text model is being restarted; try again shortly.", retry_after_s=_RETRY_AFTER_S)


def _not_loaded(how: str) -> ModelNotLoaded:
    return ModelNotLoaded(f"The model's process ended while it loaded, {how}.")


def _failed() -> ModelFailed:
    return ModelFailed("The image-text model failed on this request.")


def _finite_rows(rows: Embeddings) -> list[Embedding]:
    if not np.isfinite(rows).all():
        raise ModelFailed("The image-text model gave no finite numbers.")
    return list(rows)
