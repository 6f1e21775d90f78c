from pathlib import Path

import numpy as np

from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.label_embeddings import embed_labels
from services.captioner.taxonomy import ZeroShotCategory
from tests.unit.services.captioner.fakes import ColorModel

CATEGORY = ZeroShotCategory.model_validate(
    {
        "name": "kind",
        "reader": "zero_shot",
        "prompts": ["{}", "a photo of a {}"],
        "labels": ["red apple", {"name": "sky", "also": ["blue sky"]}],
    }
)


def test_a_label_fits_as_well_as_the_best_of_its_names(tmp_path: Path) -> None:
    embeddings = embed_labels(CATEGORY, ColorModel(), EmbeddingCache(tmp_path))

    apple, sky = embeddings.cosines(np.array([0, 0, 1, 0], dtype=np.float32))

    assert sky > 0.99
    assert apple < 0.01


def test_every_name_is_put_into_every_prompt(tmp_path: Path) -> None:
    model = ColorModel()

    embed_labels(CATEGORY, model, EmbeddingCache(tmp_path))

    assert model.encoded_texts == [
        "red apple",
        "a photo of a red apple",
        "sky",
        "a photo of a sky",
        "blue sky",
        "a photo of a blue sky",
    ]


def test_a_model_that_wants_bare_names_gets_them(tmp_path: Path) -> None:
    model = ColorModel()
    model.prompted = False

    embed_labels(CATEGORY, model, EmbeddingCache(tmp_path))

    assert model.encoded_texts == ["red apple", "sky", "blue sky"]


def test_a_second_start_encodes_nothing(tmp_path: Path) -> None:
    embed_labels(CATEGORY, ColorModel(), EmbeddingCache(tmp_path))
    model = ColorModel()

    embed_labels(CATEGORY, model, EmbeddingCache(tmp_path))

    assert model.encoded_texts == []
