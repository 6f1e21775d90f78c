"""What a background is judged by, as one vector.

Every signal but the keywords is a dot product of something that is known of the background with something that is known
of the request: the mean of its captions' embeddings, its picture's embedding, the histogram of its colours, its free
space. Side by side they are the background's vector, and the request's parts, each times its signal's weight, are the
query. One dot product is then the whole weighted sum, exactly, for whatever weights a request asks for; so the vector
engine orders a library by all signals in one search, and no candidate is lost because one signal alone ranks it low.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from services.ranker import color_harmony, placement
from services.ranker.background import Background

Vectors = NDArray[np.float32]


class Signal(StrEnum):
    """What a background is judged by."""

    TEXT = "text"
    IMAGE = "image"
    PHOTO = "photo"
    COLOR = "color"
    SPACE = "space"
    KEYWORDS = "keywords"
    FEEDBACK = "feedback"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each signal lies in a vector.

    Attributes:
        text: the dimension of sentence embeddings.
        image: the dimension of the image-text model's embeddings.
    """

    text: int
    image: int

    @property
    def blocks(self) -> Mapping[Signal, slice]:
        """The part of the vector that each signal compares; scenes and photo are compared with the same picture."""
        return _blocks(self)

    @property
    def taught(self) -> slice:
        """The part that feedback speaks of: the embeddings of captions and picture, which lie side by side."""
        return slice(0, self.text + self.image)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the parts, in their order."""
        return self.text, self.image, color_harmony.COLORS, placement.CELLS

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return sum(self.sizes)

    def vector(self, parts: Mapping[Signal, Vectors]) -> Vectors:
        """The parts side by side, (dimension,); zeros where there is none. Parts of the same place are added up."""
        whole = np.zeros(self.dimension, dtype=np.float32)
        for signal, part in parts.items():
            whole[self.blocks[signal]] += part
        return whole

    def image_embedding(self, vector: Vectors) -> tuple[float, ...] | None:
        """The picture's part of a background's vector, (dimension,); None where there is no picture."""
        part = vector[self.blocks[Signal.IMAGE]]
        return tuple(part.tolist()) if part.any() else None

    def with_text(self, text: Vectors, vector: Vectors) -> Vectors:
        """A background's vector, (dimension,), from its text part and a vector whose layout differs in that alone."""
        return np.concatenate([text, vector[self.text - self.dimension :]])

    def similarities(self, directions: Mapping[Signal, Vectors], vectors: Vectors) -> dict[Signal, Vectors]:
        """By signal, the similarity of each of n backgrounds, (n,).

        Args:
            directions: what the request compares by each signal.
            vectors: of the backgrounds, (n, dimension).
        """
        blocks = self.blocks
        return {signal: vectors[:, blocks[signal]] @ direction for signal, direction in directions.items()}


@cache
def _blocks(layout: Layout) -> Mapping[Signal, slice]:
    starts = list(itertools.accumulate(layout.sizes, initial=0))
    text, image, color, space = itertools.starmap(slice, itertools.pairwise(starts))
    return {
        Signal.TEXT: text,
        Signal.IMAGE: image,
        Signal.PHOTO: image,
        Signal.COLOR: color,
        Signal.SPACE: space,
        Signal.FEEDBACK: layout.taught,
    }


def background_parts(background: Background, captions: Vectors) -> dict[Signal, Vectors]:
    """What each signal compares of a background.

    Args:
        background: its colours and its free space count.
        captions: the unit vectors of its captions, (captions, dimension).
    """
    parts = {Signal.TEXT: captions.mean(axis=0)}
    if background.image:
        parts[Signal.IMAGE] = unit(background.image.values)
    if background.palette:
        parts[Signal.COLOR] = color_harmony.palette_vector(background.palette)
    if background.free_space:
        parts[Signal.SPACE] = placement.free_space_vector(background.free_space.values)
    return parts


def unit(values: tuple[float, ...]) -> Vectors:
    """The direction of a vector; zeros stay zeros."""
    vector = np.asarray(values, dtype=np.float32)
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length else vector
