from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from services.captioner.embedding_cache import EmbeddingCache


class Encoder:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls += 1
        rows = np.array([[len(text), 1.0] for text in texts], dtype=np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def test_texts_are_embedded_once_and_then_read_from_disk(tmp_path: Path) -> None:
    encoder = Encoder()
    first = EmbeddingCache(tmp_path).embed("model", ["a", "bc"], encoder)

    second = EmbeddingCache(tmp_path).embed("model", ["a", "bc"], encoder)

    np.testing.assert_array_equal(first, second)
    assert encoder.calls == 1


@pytest.mark.parametrize(
    ("model", "texts"), [("other", ["a", "bc"]), ("model", ["bc", "a"]), ("model", ["a", "b", "c"])]
)
def test_another_model_or_other_texts_are_embedded_anew(tmp_path: Path, model: str, texts: list[str]) -> None:
    encoder = Encoder()
    EmbeddingCache(tmp_path).embed("model", ["a", "bc"], encoder)

    embedded = EmbeddingCache(tmp_path).embed(model, texts, encoder)

    assert (encoder.calls, len(embedded)) == (2, len(texts))


def damage_nothing_left(path: Path) -> None:
    path.write_bytes(b"")


def damage_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def damage_other_rows(path: Path) -> None:
    np.save(path, np.eye(3, dtype=np.float32))


def damage_zeros(path: Path) -> None:
    np.save(path, np.zeros((2, 2), dtype=np.float32))


def damage_not_numpy(path: Path) -> None:
    path.write_text("hello")


@pytest.mark.parametrize(
    "damage", [damage_nothing_left, damage_truncated, damage_other_rows, damage_zeros, damage_not_numpy]
)
def test_a_damaged_file_is_computed_again_with_a_log_line(tmp_path: Path, damage: object) -> None:
    encoder = Encoder()
    first = EmbeddingCache(tmp_path).embed("model", ["a", "bc"], encoder)
    (path,) = tmp_path.iterdir()
    damage(path)  # type: ignore[operator]

    with capture_logs() as logs:
        second = EmbeddingCache(tmp_path).embed("model", ["a", "bc"], encoder)
    EmbeddingCache(tmp_path).embed("model", ["a", "bc"], encoder)

    np.testing.assert_array_equal(first, second)
    assert [(each["event"], each["path"]) for each in logs] == [("cached_embeddings_damaged", str(path))]
    assert encoder.calls == 2


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = EmbeddingCache(tmp_path / "file" / "cache")

    with capture_logs() as logs:
        assert len(cache.embed("model", ["a"], Encoder())) == 1

    assert "embeddings_not_cached" in [each["event"] for each in logs]


def test_nothing_half_written_stays_behind(tmp_path: Path) -> None:
    EmbeddingCache(tmp_path).embed("model", ["a"], Encoder())

    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]
