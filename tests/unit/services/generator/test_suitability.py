"""Scenes show no people, no animals, and not the product itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.prompt import Subject, load_prompt
from services.generator.suitability import SuitabilityChecker
from services.generator.wordnet import WordNet

MUG = [("object_type", ["coffee mug"]), ("color", ["blue"])]


@pytest.fixture(scope="module")
def checker() -> SuitabilityChecker:
    return SuitabilityChecker(WordNet())


@pytest.mark.parametrize(
    ("scene", "shown"),
    [
        ("A marble counter with a cat.", ("cat",)),
        ("A child on a beach, two dogs.", ("child", "dogs")),
        ("A blue mug on an oak table.", ("mug",)),
        ("Mugs in front of a wall.", ("mugs",)),
        ("A soft rug in a guest bedroom, soft light.", ()),
        ("A chef's kitchen, warm evening light, cosy mood.", ()),
        ("A mug shelf in front of a pine forest.", ()),
        ("", ()),
    ],
)
def test_what_a_background_must_not_show_is_named(
    checker: SuitabilityChecker, scene: str, shown: tuple[str, ...]
) -> None:
    assert checker.unsuitable(scene, MUG) == shown


def test_every_scene_of_ours_is_suitable(checker: SuitabilityChecker) -> None:
    for family in load_prompt(Subject.PRODUCT).content.families:
        for scene in family.scenes:
            assert not checker.unsuitable(scene, []), scene


@given(st.text(max_size=100), st.text(max_size=30))
def test_any_text_is_checked(scene: str, label: str) -> None:
    found = SuitabilityChecker(WordNet()).unsuitable(scene, [("object_type", [label])])
    assert all(word in scene.lower() for word in found)
