"""Any model of open_clip, by pretrained tag, hub id or local checkpoint."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from chassis.torchvision_ops import define_missing_torchvision_ops
from services.captioner.errors import ModelNotLoaded
from services.captioner.image_text_model import Embeddings, ImageTextModel, model_errors

define_missing_torchvision_ops()

import open_clip  # noqa: E402
from timm.utils.model import reparameterize_model  # noqa: E402

TEXT_BATCH = 64
# Sources whose configuration and weights come together.
_SCHEMAS = ("hf-hub:", "local-dir:")

Transform = Callable[[Image.Image], torch.Tensor]
Tokenizer = Callable[[list[str]], torch.Tensor]


class OpenClipModel:
    """An open_clip model. See `ImageTextModel` for what each method promises."""

    prompted = True

    def __init__(self, name: str, model: Any, transform: Transform, tokenizer: Tokenizer) -> None:
        self.name = name
        self._model = model
        self._transform = transform
        self._tokenizer = tokenizer
        weight: torch.nn.Parameter = next(model.parameters())
        self._device, self._dtype = weight.device, weight.dtype
        self.logit_scale = float(model.logit_scale.exp())
        self.dimension = self.encode_text(["a photo"]).shape[1]

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """The model's own transform."""
        return self._transform(image)

    def encode_image(self, pixels: torch.Tensor) -> Embeddings:
        """The image tower, at unit length."""
        with model_errors(), torch.inference_mode():
            return _to_unit_rows(self._model.encode_image(pixels.to(self._device, self._dtype)))

    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """The text tower, at unit length."""
        with model_errors(), torch.inference_mode():
            return np.concatenate([self._encode_batch(batch) for batch in _batches(texts)])

    def _encode_batch(self, texts: list[str]) -> Embeddings:
        return _to_unit_rows(self._model.encode_text(self._tokenizer(texts).to(self._device)))


def load_open_clip(source: str, device: torch.device, dtype: torch.dtype) -> ImageTextModel:
    """Loads `ARCHITECTURE:WEIGHTS` (a pretrained tag or a checkpoint's path), `hf-hub:OWNER/NAME` or `local-dir:PATH`.

    Raises:
        ModelNotLoaded: naming what open_clip could not find or load.
    """
    architecture, weights = _split_source(source)
    try:
        model, transform = open_clip.create_model_from_pretrained(architecture, pretrained=weights, device=device)
        tokenizer = open_clip.get_tokenizer(architecture)
    # open_clip and the hub's client raise errors of many kinds.
    except Exception as error:
        raise ModelNotLoaded(f"open_clip cannot load {source!r}: {error}") from error
    # Cast as a whole: autocast makes attention copy its weights at every call.
    model = reparameterize_model(model.eval()).to(dtype)
    return OpenClipModel(_name(architecture, weights), model, transform, tokenizer)


def _split_source(source: str) -> tuple[str, str | None]:
    if source.startswith(_SCHEMAS):
        return source, None
    architecture, _, weights = source.partition(":")
    if not weights:
        raise ModelNotLoaded(
            f"open_clip:{source} names no weights: write open_clip:{source}:TAG (list them with "
            f"open_clip.list_pretrained()) or open_clip:{source}:PATH of a checkpoint."
        )
    return architecture, weights


def _name(architecture: str, weights: str | None) -> str:
    """Names weights on this machine by their content, since a path tells nothing to others and may be written anew."""
    if architecture.startswith("local-dir:"):
        folder = Path(architecture.removeprefix("local-dir:"))
        return f"open_clip/{folder.name}/{_digest(sorted(each for each in folder.iterdir() if each.is_file()))}"
    if weights is not None and Path(weights).is_file():
        return f"open_clip/{architecture}/{_digest([Path(weights)])}"
    return f"open_clip/{architecture.removeprefix('hf-hub:')}" + (f"/{weights}" if weights else "")


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _batches(texts: Sequence[str]) -> Iterable[list[str]]:
    return (list(texts[start : start + TEXT_BATCH]) for start in range(0, len(texts), TEXT_BATCH))


def _to_unit_rows(rows: torch.Tensor) -> Embeddings:
    return torch.nn.functional.normalize(rows.float(), dim=1).cpu().numpy()
