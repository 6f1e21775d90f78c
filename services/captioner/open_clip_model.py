"""Any model of open_clip, by pretrained tag, hub id or local checkpoint."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chassis.networks.errors import ModelNotLoaded
from chassis.networks.network import Network, NetworkSource, Runtime, join_runtimes
from chassis.networks.torchvision_ops import define_missing_torchvision_ops
from chassis.networks.towers import UnitRows
from services.captioner.image_input import ImageInput, Pixels
from services.captioner.image_text_model import Embeddings, ImageTextModel, ModelCard
from services.captioner.image_tower import ImageTower

define_missing_torchvision_ops()

import open_clip  # noqa: E402
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled  # noqa: E402
from timm.utils.model import reparameterize_model  # noqa: E402

TEXT_BATCH = 64
# Sources whose configuration and weights come together.
_SCHEMAS = ("hf-hub:", "local-dir:")
# Of the hub's client, of HTTP, and of sockets (urllib.error.URLError is an OSError as well, hence not that one alone).
_UNREACHABLE = (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError, TimeoutError)

Tokenizer = Callable[[list[str]], torch.Tensor]


class OpenClipModel:
    """An open_clip model. See `ImageTextModel` for what each method promises."""

    def __init__(self, card: ModelCard, images: Network, texts: Network, tokenizer: Tokenizer) -> None:
        self.card = card
        self._images = images
        self._texts = texts
        self._tokenizer = tokenizer

    def encode_images(self, images: Pixels) -> Embeddings:
        """The image tower, at unit length."""
        return self._images(images)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """The text tower, at unit length."""
        if not texts:
            return np.zeros((0, self.card.dimension), dtype=np.float32)
        return np.concatenate([self._texts(self._tokenizer(batch).numpy()) for batch in _batches(texts)])


class _Images(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.model.encode_image(pixels)
        return rows


class _Texts(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.model.encode_text(tokens)
        return rows


def load_open_clip(source: str, runtime: Runtime) -> ImageTextModel:
    """Loads `ARCHITECTURE:WEIGHTS` (a pretrained tag or a checkpoint's path), `hf-hub:OWNER/NAME` or `local-dir:PATH`.

    Raises:
        ModelNotLoaded: naming what open_clip could not find or load.
    """
    architecture, weights = _split_source(source)
    model, tokenizer = _load(source, architecture, weights)
    name, image_input = _name(architecture, weights), _image_input(model.visual.preprocess_cfg)
    images = runtime.load(_image_source(name, model, image_input))
    texts = runtime.load(_text_source(name, model, tokenizer))
    bias = getattr(model, "logit_bias", None)
    dimension = texts(tokenizer(["a photo"]).numpy()).shape[1]
    card = ModelCard(
        name=name,
        dimension=dimension,
        text_dimension=dimension,
        logit_scale=float(model.logit_scale.detach().float().exp()),
        logit_bias=0.0 if bias is None else float(bias.detach()),
        prompted=True,
        image_input=image_input,
        runtime=join_runtimes(images.runtime, texts.runtime),
    )
    return OpenClipModel(card, images, texts, tokenizer)


def _load(source: str, architecture: str, weights: str | None) -> tuple[Any, Tokenizer]:
    try:
        model = open_clip.create_model_from_pretrained(architecture, pretrained=weights, return_transform=False)
        tokenizer = open_clip.get_tokenizer(architecture)
    # open_clip and the hub's client raise errors of many kinds.
    except Exception as error:
        raise ModelNotLoaded(f"open_clip cannot load {source!r}: {_explain(error)}") from error
    return reparameterize_model(model.eval()), tokenizer


def _explain(error: Exception) -> str:
    if any(isinstance(each, _UNREACHABLE) for each in _chain(error)):
        return (
            "its files are not on this machine, and the hub cannot be reached or does not have them. Check the name "
            "and the network, or download it elsewhere and name its folder as open_clip:local-dir:PATH."
        )
    message = str(error).strip() or type(error).__name__
    # The latter while it fits position embeddings.
    if "Error(s) in loading state_dict" in message or isinstance(error, AssertionError):
        return f"the checkpoint is of another architecture. {message[:300]}"
    return message


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _image_input(settings: dict[str, Any]) -> ImageInput:
    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else size
    resize = settings["resize_mode"]
    # As open_clip: it fits the shorter side of what is not square by bicubic interpolation, whatever the settings say.
    bilinear = settings["interpolation"] == "bilinear" and (resize != "shortest" or height == width)
    return ImageInput(
        width=width,
        height=height,
        # As open_clip, which takes a mean of 0 for none; three zeros are another matter.
        mean=_three(settings["mean"] or open_clip.OPENAI_DATASET_MEAN),
        std=_three(settings["std"] or open_clip.OPENAI_DATASET_STD),
        resize=resize,
        interpolation="bilinear" if bilinear else "bicubic",
        fill=settings["fill_color"],
    )


def _three(values: float | Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = [values] * 3 if isinstance(values, int | float) else values
    return red, green, blue


def _image_source(name: str, model: Any, image_input: ImageInput) -> NetworkSource:
    shape = (2, image_input.height, image_input.width, 3)
    example = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return NetworkSource(
        # The settings may change without the weights.
        f"{name} images {image_input}",
        # Cast as a whole: autocast makes attention copy its weights at every call.
        lambda dtype: UnitRows(ImageTower(_Images(model.to(dtype)), image_input)),
        [example],
    )


def _text_source(name: str, model: Any, tokenizer: Tokenizer) -> NetworkSource:
    example = tokenizer(["a photo", "a wooden table in front of a window"]).numpy()
    return NetworkSource(f"{name} texts", lambda dtype: UnitRows(_Texts(model.to(dtype))), [example])


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
