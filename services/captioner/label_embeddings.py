"""The labels of a zero-shot category in a model's embedding space."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from services.captioner.image_text_model import Embeddings
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

    @property
    def nbytes(self) -> int:
        """What they take in memory."""
        return self.names.nbytes + self.starts.nbytes


@dataclass(frozen=True, slots=True)
class LabelTexts:
    """What is embedded for a category's labels: each name of each label in each prompt.

    Attributes:
        texts: those of one name next to each other.
        prompt_count: texts of one name.
        name_counts: names of each label.
    """

    texts: tuple[str, ...]
    prompt_count: int
    name_counts: tuple[int, ...]

    @classmethod
    def of(cls, category: ZeroShotCategory, prompts: Sequence[str]) -> Self:
        """The names of `category` put into `prompts`."""
        names = [name for label in category.labels for name in (label.name, *label.also)]
        texts = tuple(prompt.replace("{}", name) for name in names for prompt in prompts)
        return cls(texts, len(prompts), tuple(1 + len(label.also) for label in category.labels))

    def combine(self, embeddings: Embeddings) -> LabelEmbeddings:
        """From the embeddings of `texts`: each name is the mean over its prompts, at unit length."""
        means = embeddings.reshape(sum(self.name_counts), self.prompt_count, -1).mean(axis=1)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return LabelEmbeddings(means, np.cumsum([0, *self.name_counts[:-1]]))
