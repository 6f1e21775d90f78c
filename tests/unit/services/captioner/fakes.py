"""A tiny image-text model, the process that a model lives in, and photos made in place."""

import asyncio
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil
from PIL import Image

from services.captioner.config import CaptionerConfig
from services.captioner.image_input import ImageInput, Pixels
from services.captioner.image_text_model import Embedding, Embeddings, ImageTextModel, ModelCard

COLORS = ("red", "green", "blue")


class ColorModel:
    """Knows red, green and blue: an image by what its mean colour has of each, a text by those that it names."""

    card = ModelCard(
        name="color-model",
        dimension=4,
        text_dimension=4,
        logit_scale=20.0,
        logit_bias=0.0,
        prompted=True,
        image_input=ImageInput(4, 4, mean=(0, 0, 0), std=(1, 1, 1), resize="squash"),
        runtime="numpy",
    )

    def __init__(self) -> None:
        self.encoded_texts: list[str] = []

    def encode_images(self, images: Pixels) -> Embeddings:
        means = images.mean(axis=(1, 2))
        return _unit(np.pad(means - means.min(axis=1, keepdims=True), ((0, 0), (0, 1))) + 1e-3)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        self.encoded_texts.extend(texts)
        named = np.array([[color in text for color in COLORS] for text in texts], dtype=np.float32)
        nothing = named.sum(axis=1, keepdims=True) == 0
        return _unit(np.concatenate([named, nothing], axis=1) + 1e-3)


def load_color_model(config: CaptionerConfig) -> ImageTextModel:
    """For a model's process."""
    return ColorModel()


def model_process() -> psutil.Process:
    """Of the one server that runs in this process."""
    (process,) = model_processes(psutil.Process())
    return process


def model_processes(server: psutil.Process) -> list[psutil.Process]:
    return [each for each in server.children() if "spawn_main" in " ".join(each.cmdline())]


class ThreadEncoder:
    """A model of this process, encoding in threads."""

    def __init__(self, model: ImageTextModel) -> None:
        self.card = model.card
        self._model = model

    async def encode_images(self, images: Sequence[Pixels]) -> Sequence[Embedding]:
        return list(await asyncio.to_thread(self._model.encode_images, np.stack(images)))

    async def encode_texts(self, texts: Sequence[str]) -> Sequence[Embedding]:
        return list(await asyncio.to_thread(self._model.encode_texts, texts))


def a_photo(color: Any = "red", size: tuple[int, int] = (64, 48), background: Any = None) -> Image.Image:
    """A plain picture; with a background, a rectangle in the middle of it."""
    if background is None:
        return Image.new("RGB", size, color)
    width, height = size
    photo = Image.new("RGB", size, background)
    photo.paste(color, (width // 4, height // 4, width * 3 // 4, height * 3 // 4))
    return photo


def encode(photo: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    encoded = io.BytesIO()
    photo.save(encoded, form, **options)
    return encoded.getvalue()


def _unit(rows: Any) -> Embeddings:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)
