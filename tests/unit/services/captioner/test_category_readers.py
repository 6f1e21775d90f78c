import numpy as np
import pytest

from services.captioner.calibration import digest_labels
from services.captioner.calibration_file import CategoryCalibration
from services.captioner.category_readers import Observation, ZeroShotReader
from services.captioner.label_embeddings import LabelEmbeddings
from services.captioner.palette import find_clusters
from services.captioner.photometry import measure
from services.captioner.taxonomy import ZeroShotCategory

CATEGORY = ZeroShotCategory.model_validate(
    {"name": "kind", "reader": "zero_shot", "labels": ["mug", "jar"], "min_confidence": 0.4, "min_margin": 0.2}
)
EMBEDDINGS = LabelEmbeddings(np.eye(2, dtype=np.float32), np.array([0, 1]))
PIXELS = np.zeros((4, 3), dtype=np.uint8)
PHOTO = Observation(
    np.array([0.8, 0.6], dtype=np.float32), find_clusters(PIXELS), measure(np.zeros((4, 3), dtype=np.float32))
)


def a_calibration(temperature: float) -> CategoryCalibration:
    return CategoryCalibration(
        model="a-model",
        taxonomy="things",
        category="kind",
        labels=digest_labels(CATEGORY),
        temperature=temperature,
        min_confidence=0.65,
        precision=0.7,
        photos=40,
        fitted_on=("labels.csv",),
        accuracy=0.6,
        ece_before=0.2,
        ece_after=0.1,
    )


def test_without_a_calibration_the_taxonomy_says_what_is_sure() -> None:
    reader = ZeroShotReader(CATEGORY, EMBEDDINGS, logit_scale=10)

    assert (reader.calibrated, reader.min_confidence, reader.min_margin) == (False, 0.4, 0.2)
    assert reader.confidences(PHOTO)["mug"] == pytest.approx(1 / (1 + np.exp(-2)))


def test_a_calibration_brings_its_threshold_and_its_temperature() -> None:
    reader = ZeroShotReader(CATEGORY, EMBEDDINGS, 10, a_calibration(temperature=2))

    assert (reader.calibrated, reader.min_confidence, reader.min_margin) == (True, 0.65, 0)
    assert reader.confidences(PHOTO)["mug"] == pytest.approx(1 / (1 + np.exp(-1)))
