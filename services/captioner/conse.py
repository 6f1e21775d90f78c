"""An image-text model without training on pairs: an image classifier and a sentence encoder.

ConSE (Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings", ICLR 2014) puts an image into
the space of a text encoder: it is the mean of the embeddings of the classifier's best classes' names, weighted by
their probabilities. Texts go into that space by the text encoder itself.

Two things are added. A class is embedded with a part of its definition, since a name like "Granny Smith" says little
of what is in the picture. And what a combination lacks to unit length, because its classes are many and unlike
each other, goes to an axis of its own, on which no text lies: so a doubtful image is far from all texts.

The classifier is EfficientNet-Lite2, trained on the 1,000 classes of ImageNet; the text encoder is all-MiniLM-L6-v2.
Both come in packages and run well on a CPU.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chassis.networks.network import Runtime, join_runtimes
from chassis.networks.sentence_encoder import SentenceEncoder, load_sentence_encoder
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.image_input import Pixels
from services.captioner.image_text_model import Embeddings, ImageTextModel, ModelCard
from services.captioner.imagenet_classifier import IMAGE_INPUT, ImageNetClassifier, describe_classes, load_classifier

TEXT_ENCODER = "all-minilm-l6-v2"
# Classes that an image is combined from: beyond these the probabilities are noise.
TOP_CLASSES = 10
# Softer than the classifier was trained to be: the classes that it takes for nearly as likely say what a thing is like
# that is in none of its classes. docs/calibration.md has the figures.
TEMPERATURE = 1.5
# Part of a class's embedding that its definition makes up; the rest is its name's.
DEFINITION_SHARE = 0.3
# Definitions say the most first.
DEFINITION_WORDS = 8


class Conse:
    """ConSE over a classifier and a text encoder. See `ImageTextModel` for what each method promises."""

    def __init__(
        self, classifier: ImageNetClassifier, text_encoder: SentenceEncoder, class_embeddings: Embeddings
    ) -> None:
        self._classifier = classifier
        self._text_encoder = text_encoder
        self._class_embeddings = class_embeddings
        self.card = ModelCard(
            name="conse-efficientnet-lite2-minilm-l6-v2",
            dimension=class_embeddings.shape[1] + 1,
            text_dimension=class_embeddings.shape[1],
            logit_scale=20.0,
            logit_bias=0.0,
            # Images are made of bare names.
            prompted=False,
            image_input=IMAGE_INPUT,
            runtime=join_runtimes(classifier.runtime, text_encoder.runtime),
        )

    def encode_images(self, images: Pixels) -> Embeddings:
        """The convex combination of the embeddings of each image's best classes, and the doubt that is left."""
        return combine_classes(self._classifier.logits(images), self._class_embeddings)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """The text encoder's embeddings, which hold no doubt."""
        return np.pad(self._text_encoder.encode(texts), ((0, 0), (0, 1)))


def load_conse(runtime: Runtime, cache: EmbeddingCache) -> ImageTextModel:
    """Loads both models from their packages; the class names' embeddings come from `cache` if they can."""
    text_encoder = load_sentence_encoder(runtime)
    return Conse(load_classifier(runtime), text_encoder, embed_classes(text_encoder, cache))


def combine_classes(logits: NDArray[np.float32], class_embeddings: Embeddings) -> Embeddings:
    """The convex combination of the embeddings of each image's best classes, and the doubt that is left.

    Args:
        logits: of the classifier, of shape (images, classes).
        class_embeddings: unit rows of shape (classes, dimension).

    Returns:
        Unit rows of shape (images, dimension + 1).
    """
    classes = np.argpartition(logits, -TOP_CLASSES, axis=1)[:, -TOP_CLASSES:]
    best = np.take_along_axis(logits, classes, axis=1)
    weights = np.exp((best - best.max(axis=1, keepdims=True)) / TEMPERATURE)
    weights /= weights.sum(axis=1, keepdims=True)
    combined = np.einsum("ik,ikd->id", weights, class_embeddings[classes])
    doubt = np.sqrt((1 - np.square(combined).sum(axis=1, keepdims=True)).clip(min=0))
    rows = np.concatenate([combined, doubt], axis=1)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def embed_classes(text_encoder: SentenceEncoder, cache: EmbeddingCache) -> Embeddings:
    """One unit row for each ImageNet class, from its name and its definition."""
    names, definitions = [], []
    for description in describe_classes():
        synonyms, definition = description.split(": ", 1)
        names.append(synonyms.split(", ")[0])
        definitions.append(f"{names[-1]}: {' '.join(definition.split()[:DEFINITION_WORDS])}")
    rows = cache.embed(TEXT_ENCODER, names + definitions, text_encoder.encode)
    combined = (1 - DEFINITION_SHARE) * rows[: len(names)] + DEFINITION_SHARE * rows[len(names) :]
    return np.asarray(combined / np.linalg.norm(combined, axis=1, keepdims=True), dtype=np.float32)
