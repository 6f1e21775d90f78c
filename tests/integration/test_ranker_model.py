"""The sentence-embedding model of the embedded default."""

from pathlib import Path

import numpy as np
import pytest

from services.ranker.sentence_model import PACKAGED_MODEL, EmbeddingModelNotLoaded, SentenceTransformerEncoder


@pytest.fixture(scope="module")
def encoder() -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(device="cpu")


def test_vectors_are_of_unit_length(encoder: SentenceTransformerEncoder) -> None:
    vectors = encoder.encode(["oak", "A marble table top in soft light. " * 200, "木のテーブル"])

    assert (encoder.model, encoder.dimension) == (PACKAGED_MODEL, 384)
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_sentences_of_one_meaning_are_near(encoder: SentenceTransformerEncoder) -> None:
    mug, cup, car = encoder.encode(
        ["A coffee mug on a wooden table.", "A cup of coffee standing on oak wood.", "A race car on a track."]
    )

    assert mug @ cup > mug @ car + 0.3


def test_a_model_that_is_not_there_is_reported_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingModelNotLoaded) as caught:
        SentenceTransformerEncoder(str(tmp_path))

    assert str(tmp_path) in caught.value.message
    assert "BACKDROP_RANKER_EMBEDDING_MODEL" in caught.value.message
