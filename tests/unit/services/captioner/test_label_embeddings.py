import numpy as np

from services.captioner.label_embeddings import LabelTexts
from services.captioner.taxonomy import ZeroShotCategory
from tests.unit.services.captioner.fakes import ColorModel

CATEGORY = ZeroShotCategory.model_validate(
    {"name": "kind", "reader": "zero_shot", "labels": ["red apple", {"name": "sky", "also": ["blue sky"]}]}
)


def test_a_label_fits_as_well_as_the_best_of_its_names() -> None:
    texts = LabelTexts.of(CATEGORY, ("{}", "a photo of a {}"))
    embeddings = texts.combine(ColorModel().encode_texts(texts.texts))

    apple, sky = embeddings.cosines(np.array([0, 0, 1, 0], dtype=np.float32))

    assert sky > 0.99
    assert apple < 0.01


def test_every_name_is_put_into_every_prompt() -> None:
    assert LabelTexts.of(CATEGORY, ("{}", "a photo of a {}")).texts == (
        "red apple",
        "a photo of a red apple",
        "sky",
        "a photo of a sky",
        "blue sky",
        "a photo of a blue sky",
    )


def test_a_name_is_the_mean_direction_of_its_prompts() -> None:
    texts = LabelTexts.of(CATEGORY, ("{}", "{} in green"))
    red_green = texts.combine(ColorModel().encode_texts(texts.texts)).names[0]

    np.testing.assert_allclose(np.linalg.norm(red_green), 1, atol=1e-6)
    assert red_green[0] > red_green[1] > 0.3
