"""Text embeddings kept on disk, so that a start does not compute them again."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

log = structlog.get_logger(__name__)

EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]


class EmbeddingCache:
    """A folder with a file for each list of texts that a model embedded.

    A file's name is a hash of the model's name and the texts, so a change of either computes them anew. Files are
    written atomically; several processes may share the folder. A damaged file is computed again, and a folder that
    cannot be written costs time at each start but no more.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def embed(self, model_name: str, texts: Sequence[str], encode_texts: EncodeTexts) -> NDArray[np.float32]:
        """The embeddings of `texts`, unit rows of shape (texts, dimension), from disk or else from `encode_texts`."""
        embeddings = self.find(model_name, texts)
        if embeddings is None:
            embeddings = encode_texts(texts)
            self.keep(model_name, texts, embeddings)
        return embeddings

    def find(self, model_name: str, texts: Sequence[str]) -> NDArray[np.float32] | None:
        """What was kept for these texts, in their order, if anything."""
        return _read(self._path(model_name, texts), len(texts))

    def keep(self, model_name: str, texts: Sequence[str], embeddings: NDArray[np.float32]) -> None:
        """Writes embeddings for the next start; a folder that cannot be written is logged."""
        _write(self._path(model_name, texts), embeddings)

    def _path(self, model_name: str, texts: Sequence[str]) -> Path:
        return self._folder / f"{_digest(model_name, texts)}.npy"


def _digest(model_name: str, texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([model_name, *texts]).encode()).hexdigest()[:32]


def _read(path: Path, rows: int) -> NDArray[np.float32] | None:
    try:
        embeddings = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        log.warning("cached_embeddings_damaged", path=str(path), error=str(error))
        return None
    if not _is_sound(embeddings, rows):
        log.warning("cached_embeddings_damaged", path=str(path), error="not unit rows of the expected number")
        return None
    return np.asarray(embeddings, dtype=np.float32)


def _is_sound(embeddings: NDArray[np.float32], rows: int) -> bool:
    if embeddings.ndim != 2 or embeddings.shape[0] != rows or embeddings.dtype != np.float32:
        return False
    return bool(np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-3))


def _write(path: Path, embeddings: NDArray[np.float32]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
            np.save(file, embeddings)
        os.replace(file.name, path)
    except OSError as error:
        log.warning("embeddings_not_cached", path=str(path), error=str(error))
