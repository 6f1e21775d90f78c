"""What the captioner knows of an image-text model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.captioner.image_input import ImageInput, Pixels

Embedding = NDArray[np.float32]
"""Of unit length (L2), of shape (dimension,)."""

Embeddings = NDArray[np.float32]
"""Rows of unit length (L2), of shape (rows, dimension)."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What others need to know of a loaded model. Plain values, so that it crosses from the model's process to others.

    Attributes:
        name: identifies the weights and all else that the embeddings depend on.
        dimension: of an embedding.
        text_dimension: how many axes, the first ones, texts lie on; images alone lie on what further ones there are.
        logit_scale: what a cosine is multiplied by before a softmax over texts.
        logit_bias: what SigLIP-like models add to that before a sigmoid for each text; 0 for others.
        prompted: whether it reads labels best in prompts, as captions have them ("a photo of a mug"), or bare ("mug").
        image_input: how it takes images.
        runtime: what computes it and where, such as `openvino bf16 on CPU`.
    """

    name: str
    dimension: int
    text_dimension: int
    logit_scale: float
    logit_bias: float
    prompted: bool
    image_input: ImageInput
    runtime: str


class ImageTextModel(Protocol):
    """Puts images and texts into one space, where the cosine tells how well they fit.

    It lives in a process of its own (`model_worker`), where one call at a time is made.
    """

    card: ModelCard

    def encode_images(self, images: Pixels) -> Embeddings:
        """Embeds images as `card.image_input` prepares them, uint8 of shape (images, height, width, 3), a row each."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embeds texts, a row each."""
        ...
