"""The labels of a zero-shot category in a model's embedding space."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.image_text_model import Embeddings, ImageTextModel
from services.captioner.taxonomy import ZeroShotCategory


@dataclass(frozen=True, slots=True)
class LabelEmbeddings:
    """The names of a category's labels, embedded.

    Attributes:
        names: unit rows of shape (names, dimension), those of one label next to each other.
        starts: for each label, the row of its first name.
    """

    names: Embeddings
    starts: NDArray[np.intp]

    def cosines(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """How well an embedded image fits each label: as well as it fits the best of the label's names."""
        return np.maximum.reduceat(self.names @ image, self.starts)


def embed_labels(category: ZeroShotCategory, model: ImageTextModel, cache: EmbeddingCache) -> LabelEmbeddings:
    """Embeds each name of each label, as the mean over the category's prompts if the model wants them."""
    prompts = category.prompts if model.prompted else ("{}",)
    names = [name for label in category.labels for name in (label.name, *label.also)]
    counts = [1 + len(label.also) for label in category.labels]
    texts = [prompt.replace("{}", name) for name in names for prompt in prompts]
    embeddings = cache.embed(model.name, texts, model.encode_text)
    means = embeddings.reshape(len(names), len(prompts), -1).mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return LabelEmbeddings(means, np.cumsum([0, *counts[:-1]]))
