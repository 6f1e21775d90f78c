from pathlib import Path

import numpy as np
import pytest

from chassis.errors import InvalidArgument
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.errors import ModelMismatch
from services.captioner.features import PhotoReader
from services.captioner.image_decoding import Limits
from tests.unit.services.captioner.fakes import ColorModel

TEXTS = ["a red box", "a blue box"]


@pytest.fixture
def model() -> ColorModel:
    return ColorModel()


@pytest.fixture
def reader(model: ColorModel, tmp_path: Path) -> PhotoReader:
    return PhotoReader(model, {}, EmbeddingCache(tmp_path), Limits(1_000_000, 1_000_000))


def test_a_text_is_encoded_once_and_scored_the_same_ever_after(reader: PhotoReader, model: ColorModel) -> None:
    red = np.array([1, 0, 0, 0], dtype=np.float32)
    first = reader.score(red, TEXTS)
    again = reader.score(red, [*reversed(TEXTS), "a green box"])
    assert again[:2] == first[::-1]
    assert first[0] > first[1]
    assert model.encoded_texts == [*TEXTS, "a green box"]


def test_the_embedding_of_another_model_is_refused(reader: PhotoReader) -> None:
    with pytest.raises(ModelMismatch, match="other-model"):
        reader.check_embedding([1.0, 0.0, 0.0, 0.0], "other-model")


@pytest.mark.parametrize("values", [[1.0], [0.0] * 4, [float("nan")] * 4])
def test_an_embedding_without_the_right_dimension_or_a_direction_is_refused(
    reader: PhotoReader, values: list[float]
) -> None:
    with pytest.raises(InvalidArgument, match=r"embedding\.values"):
        reader.check_embedding(values, "color-model")
