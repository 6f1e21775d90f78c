"""What is kept of a language model's answer."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.candidates import MAX_CHARS, Candidate, Unreadable, read

FORM = "{surface} in front of {place}, {light}, {mood} mood."


def answer(captions: list[str], scenes: list[str]) -> str:
    return json.dumps({"captions": captions, "scenes": scenes})


def read_plain(text: str, count: int = 8) -> list[Candidate]:
    return read(text, count, "{scene}")


def test_each_scene_is_a_candidate_with_one_of_the_captions_in_turn() -> None:
    found = read_plain(answer(["A mug.", "A blue mug."], ["On oak.", "On stone.", "On silk."]))
    assert found == [
        Candidate("A mug.", "On oak."),
        Candidate("A blue mug.", "On stone."),
        Candidate("A mug.", "On silk."),
    ]


def test_no_more_are_kept_than_were_asked_for() -> None:
    assert len(read_plain(answer(["A mug."], ["a", "b", "c"]), count=2)) == 2


def test_a_scene_that_comes_again_is_one() -> None:
    assert len(read_plain(answer(["A mug."], ["On oak.", "on OAK."]))) == 1


def test_prose_and_fences_around_an_answer_do_not_matter() -> None:
    text = f"Sure!\n```json\n{answer([' A mug. '], ['On oak.'])}\n```"
    assert read_plain(text) == [Candidate("A mug.", "On oak.")]


def test_the_parts_of_a_scene_become_a_sentence() -> None:
    text = answer(["A mug."], ["an oak table; a kitchen; soft light; cosy mood"])
    (candidate,) = read(text, 1, FORM)
    assert candidate.scene == "An oak table in front of a kitchen, soft light, cosy mood."


def test_a_scene_that_is_a_sentence_already_stays_one() -> None:
    (candidate,) = read(answer(["A mug."], ["An oak table by a window."]), 1, FORM)
    assert candidate.scene == "An oak table by a window."


@pytest.mark.parametrize("scene", ["a; b", "a; b; c", "a; b; c; d; e", "a; ; c; d"])
def test_a_scene_of_other_parts_is_said_to_be_wrong_in_words_that_help_to_mend_it(scene: str) -> None:
    with pytest.raises(Unreadable, match="write each as surface; place; light; mood"):
        read(answer(["A mug."], [scene]), 1, FORM)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "{}",
        "{" * 100_000,
        "}{",
        '{"captions": [], "scenes": ["x"]}',
        '{"captions": ["x"], "scenes": []}',
        '{"captions": ["x"], "scenes": [""]}',
        '{"captions": ["x"], "scenes": [1]}',
        '{"captions": "x", "scenes": ["x"]}',
        answer(["x" * (MAX_CHARS + 1)], ["x"]),
    ],
)
def test_anything_else_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        read_plain(text)


@given(st.text(), st.text())
def test_any_text_is_read_or_unreadable(before: str, inside: str) -> None:
    for text in (before, f"{before}{{{inside}}}"):
        with contextlib.suppress(Unreadable):
            assert read_plain(text)
