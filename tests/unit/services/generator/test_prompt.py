"""Prompts: the files are sound, and features stay data."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.prompt import Prompt, Subject, filled, load_prompt


@pytest.fixture(params=list(Subject), ids=lambda subject: subject.value)
def prompt(request: pytest.FixtureRequest) -> Prompt:
    return load_prompt(request.param)


def test_each_worked_example_has_the_form_that_the_model_is_held_to(prompt: Prompt) -> None:
    for example in prompt.content.examples:
        sentences = prompt.schema(list(example.features.items()))["properties"]
        assert re.search(sentences["caption"]["pattern"], example.caption)
        assert re.search(sentences["scene"]["pattern"], example.scene)


def test_each_scene_of_a_family_has_the_form_too() -> None:
    content = load_prompt(Subject.PRODUCT).content
    assert content.scene.english_pattern
    pattern = filled(content.scene.english_pattern, content.words)
    for family in content.families:
        for scene in family.scenes:
            assert re.search(pattern, scene), scene


@pytest.mark.parametrize(
    ("object_type", "place"),
    [("coffee mug", "kitchen"), ("porcelain cups", "kitchen"), ("cowboy hat", "desert"), ("soccer ball", "park")],
)
def test_examples_of_the_products_own_family_stand_last(object_type: str, place: str) -> None:
    prompt = load_prompt(Subject.PRODUCT)
    *_, first_of_family, _, _, question = prompt.messages([("object_type", [object_type])])
    assert place in first_of_family["content"]
    assert object_type in question["content"]


def test_a_product_of_no_family_gets_the_common_examples_alone() -> None:
    prompt = load_prompt(Subject.PRODUCT)
    nothing_known = prompt.messages([("color", ["white"])])
    assert len(prompt.messages([("object_type", ["zeppelin"])])) == len(nothing_known)


def test_all_but_the_last_message_is_the_same_in_every_call_about_one_family(prompt: Prompt) -> None:
    one = prompt.messages([("color", ["white"])])
    other = prompt.messages([("mood", ["calm"])], "de")
    assert one[:-1] == other[:-1]
    assert one[-1] != other[-1]


def test_the_scene_of_a_product_and_the_caption_of_a_background_share_their_form() -> None:
    scene = load_prompt(Subject.PRODUCT).content.examples[0].scene
    caption = load_prompt(Subject.BACKGROUND).content.examples[0].caption
    for words in ("in front of", "light,", "mood."):
        assert words in scene
        assert words in caption


def test_a_category_that_comes_twice_keeps_all_its_labels() -> None:
    messages = load_prompt(Subject.PRODUCT).messages([("color", ["red"]), ("color", ["blue"])])
    assert json.loads(messages[-1]["content"]) == {"color": "red, blue"}


def test_a_pattern_takes_the_labels_that_are_known() -> None:
    pattern = filled("^A <thing>\\.$", {"thing": ["coffee mug", "tea cup"]})
    assert re.search(pattern, "A tea cup.")
    assert not re.search(pattern, "A hat.")


def test_a_pattern_takes_the_files_words_for_a_feature_that_is_not_known() -> None:
    pattern = load_prompt(Subject.PRODUCT).schema([("color", ["red"])])["properties"]["caption"]["pattern"]
    assert re.search(pattern, "A red product.")
    assert not re.search(pattern, "A red hat.")


@given(st.text(max_size=200))
def test_no_label_breaks_the_pattern_or_leaves_its_quotes(label: str) -> None:
    prompt = load_prompt(Subject.PRODUCT)
    features = [("object_type", [label])]
    re.compile(prompt.schema(features)["properties"]["caption"]["pattern"])
    assert json.loads(prompt.messages(features)[-1]["content"]) == {"object_type": label}
