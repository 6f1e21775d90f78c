"""Sentence-embedding models behind `text_embedding`: the MiniLM that is installed, or any of sentence-transformers."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chassis.networks.errors import ModelNotLoaded
from chassis.networks.network import Array, Network, NetworkSource, Runtime
from chassis.networks.runtimes import Computing, choose_runtime
from chassis.networks.sentence_encoder import load_sentence_encoder
from services.ranker.config import RankerConfig
from services.ranker.signals import Vectors
from services.ranker.text_embedding import BATCH_SIZE, Encoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGED_MODEL = "all-MiniLM-L6-v2"
# Scenes are about as long. The first batch of a kind is slow.
_WARM_UP = "A walnut table in front of a blurred kitchen, soft morning light from the left, calm mood."


class EmbeddingModelNotLoaded(ModelNotLoaded):
    """The sentence-embedding model cannot be had."""

    reason = "EMBEDDING_MODEL_NOT_LOADED"


def load_encoder(config: RankerConfig, model: str = "") -> Encoder:
    """Loads a model and warms it up.

    Captions and requests are sentences of one kind, so neither gets the prompt that some models have for queries.

    Args:
        config: how to compute it.
        model: name of the hub or folder; empty for the MiniLM that is installed.

    Raises:
        EmbeddingModelNotLoaded: there is no such model, or it cannot be fetched.
        ModelNotLoaded: it cannot be computed as the configuration wants it.
    """
    runtime = choose_runtime(
        Computing(
            config.embedding_device,
            config.embedding_runtime,
            config.embedding_precision,
            config.embedding_threads,
            config.cache_dir,
        )
    )
    return _SentenceTransformerEncoder(model, runtime) if model else _PackagedEncoder(runtime)


class _PackagedEncoder:
    """The MiniLM that is installed. Once its network is converted, torch is not imported, which takes seconds."""

    def __init__(self, runtime: Runtime) -> None:
        self._encoder = load_sentence_encoder(runtime)
        self.model = PACKAGED_MODEL
        self.runtime = self._encoder.runtime
        self.dimension = _warm_up(self)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of the texts, (texts, dimension)."""
        return self._encoder.encode(texts)


class _SentenceTransformerEncoder:
    """Any sentence-transformers model: its tokenizer, and all its modules as one network."""

    def __init__(self, source: str, runtime: Runtime) -> None:
        self._transformer = _load_transformer(source)
        self._names = sorted(_tensors(self._transformer, ["a"]))
        self._network = self._load_network(source, runtime)
        self.model = Path(source).resolve().name if Path(source).is_dir() else source
        self.runtime = self._network.runtime
        self.dimension = _warm_up(self)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of the texts, (texts, dimension)."""
        return self._network(*self._inputs(texts))

    def _inputs(self, texts: Sequence[str]) -> list[Array]:
        tensors = _tensors(self._transformer, texts)
        return [tensors[name] for name in self._names]

    def _load_network(self, source: str, runtime: Runtime) -> Network:
        import torch

        from chassis.networks.towers import UnitRows

        class AllModules(torch.nn.Module):
            """From the tokenizer's tensors, each (texts, length), in the order of their names, to sentences' rows."""

            def __init__(self, transformer: "SentenceTransformer", names: Sequence[str]) -> None:
                super().__init__()
                self.transformer = transformer
                self.names = names

            def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
                rows: torch.Tensor = self.transformer(dict(zip(self.names, tensors, strict=True)))["sentence_embedding"]
                return rows

        def build(dtype: torch.dtype) -> torch.nn.Module:
            return UnitRows(AllModules(self._transformer.to(dtype), self._names))

        examples = self._inputs([_WARM_UP, "A short one."])
        name = f"{source} {_digest(self._transformer)}"
        return runtime.load(NetworkSource(name, build, examples, dynamic_axes=(0, 1)))


def _load_transformer(source: str) -> "SentenceTransformer":
    from chassis.networks.torchvision_ops import define_missing_torchvision_ops

    define_missing_torchvision_ops()
    # Not before torchvision can be imported.
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return SentenceTransformer(source, device="cpu", local_files_only=Path(source).is_dir())
    except (OSError, ValueError, RuntimeError) as error:
        raise EmbeddingModelNotLoaded(
            f"The embedding model {source!r} cannot be loaded ({_first_line(error)}). Set"
            " BACKDROP_RANKER_EMBEDDING_MODEL to a folder or a name that this machine can fetch."
        ) from error


def _tensors(transformer: "SentenceTransformer", texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    found: dict[str, Any] = transformer.preprocess(list(texts))
    return {name: value.numpy() for name, value in found.items() if hasattr(value, "numpy")}


def _digest(transformer: "SentenceTransformer") -> str:
    import torch

    digest = hashlib.sha256(str(transformer).encode())
    for name, weights in transformer.state_dict().items():
        digest.update(name.encode())
        # As bytes, for numpy has no bfloat16.
        digest.update(weights.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _warm_up(encoder: Encoder) -> int:
    """Has it compute batches of both kinds; returns the dimension of its vectors."""
    encoder.encode([_WARM_UP] * BATCH_SIZE)
    dimension: int = encoder.encode([_WARM_UP]).shape[1]
    return dimension


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
