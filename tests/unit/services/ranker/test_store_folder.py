import os
from pathlib import Path

import pytest

from services.ranker.store_folder import make_version, owned_folder, stored_space
from services.ranker.vector_store import (
    EmbeddingModelChanged,
    StoreDamaged,
    StoreInUse,
    StoreNotWritable,
    VectorSpace,
)

SPACE = VectorSpace("a-model", 4, "eye", 4)


def write_shard(folder: Path) -> None:
    (folder / "points").write_text("points")


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with owned_folder(tmp_path / "store"):
        with pytest.raises(StoreInUse) as caught, owned_folder(tmp_path / "store"):
            pass
        assert f"process {os.getpid()}" in caught.value.message
        assert "BACKDROP_RANKER_STORE_PATH" in caught.value.message
    with owned_folder(tmp_path / "store"):
        pass


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreNotWritable, match="Make the folder writable"), owned_folder(tmp_path / "file" / "store"):
        pass


def test_a_disk_that_fails_while_the_store_is_made_is_reported_and_leaves_nothing_half(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write_shard(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreNotWritable, match="No space left"):
        make_version(tmp_path, 1, SPACE, fail)
    make_version(tmp_path, 1, SPACE, write_shard)

    assert stored_space(tmp_path, 1) == SPACE


def test_a_store_is_made_once(tmp_path: Path) -> None:
    make_version(tmp_path, 1, SPACE, write_shard)
    make_version(tmp_path, 1, VectorSpace("another-model", 8, "eye", 4), write_shard)

    assert stored_space(tmp_path, 1) == SPACE


@pytest.mark.parametrize("content", ["", "not json", "[]", '{"model": "a-model"}'])
def test_an_unreadable_description_is_damage(tmp_path: Path, content: str) -> None:
    make_version(tmp_path, 1, SPACE, write_shard)
    (tmp_path / "versions/1/data/space.json").write_text(content)

    with pytest.raises(StoreDamaged, match="Restore the folder from a backup"):
        stored_space(tmp_path, 1)


@pytest.mark.parametrize("stored", [VectorSpace("another-model", 4, "eye", 4), VectorSpace("a-model", 8, "eye", 4)])
def test_vectors_of_another_model_are_refused_with_what_to_do(stored: VectorSpace) -> None:
    with pytest.raises(EmbeddingModelChanged) as caught:
        SPACE.require(stored, "The store", "BACKDROP_RANKER_STORE_PATH")

    assert str(stored) in caught.value.message
    assert "import the backgrounds again" in caught.value.message
