"""What the captioner knows of an image-text model, and how one is loaded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from services.captioner.config import CaptionerConfig
from services.captioner.device import choose_device, choose_dtype
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.errors import ModelFailed, OutOfMemory

Embeddings = NDArray[np.float32]
"""Rows of unit length (L2), of shape (rows, dimension)."""


class ImageTextModel(Protocol):
    """Puts images and texts into one space, where the cosine tells how well they fit.

    Calls block, and may come from several threads.

    Attributes:
        name: identifies the weights and all else that the embeddings depend on.
        dimension: of an embedding.
        logit_scale: what a cosine is multiplied by before a softmax over texts.
        prompted: whether it reads labels best in prompts, as captions have them ("a photo of a mug"), or bare ("mug").
    """

    name: str
    dimension: int
    logit_scale: float
    prompted: bool

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """An RGB image as the model takes it: float32 of shape (3, side, side)."""
        ...

    def encode_image(self, pixels: torch.Tensor) -> Embeddings:
        """Embeds preprocessed images of shape (images, 3, side, side), a row each."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """Embeds texts, a row each."""
        ...


def load_model(config: CaptionerConfig) -> ImageTextModel:
    """Loads the model that the configuration names.

    Raises:
        ModelNotLoaded: with what is wrong, such as an unknown tag or a missing checkpoint.
    """
    torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    # Imported here because each model brings libraries that take seconds to import and that the other does not need.
    if config.model == "conse":
        from services.captioner.conse import load_conse

        return load_conse(device, EmbeddingCache(config.cache_dir))
    from services.captioner.open_clip_model import load_open_clip

    return load_open_clip(config.model.removeprefix("open_clip:"), device, choose_dtype(config.precision, device))


@contextmanager
def model_errors() -> Iterator[None]:
    """Turns errors of torch into the captioner's own.

    Raises:
        OutOfMemory: the device has no memory left for the request.
        ModelFailed: anything else that went wrong in the model.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory("The captioner's device is out of memory; try again later.", retry_after_s=1) from error
    except RuntimeError as error:
        raise ModelFailed("The image-text model failed on this request.") from error
