"""What is kept of a language model's words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.caption_writer import Candidate, parse, usable
from services.generator.prompt import Subject, load_prompt


def test_a_candidate_is_read_and_its_white_space_tidied() -> None:
    assert parse('{"caption": " A\\n mug. ", "scene": "A  table."}') == Candidate("A mug.", "A table.")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A mug.",
        "{}",
        "[]",
        "}{",
        '{"caption": "A mug."}',
        '{"caption": "A mug.", "scene": 3}',
        '{"caption": "A mug.", "scene": null}',
        '{"caption": "", "scene": "A table."}',
        '{"caption": "A mug.", "scene": "A ta',
    ],
)
def test_what_is_no_candidate_is_left_out(text: str) -> None:
    assert parse(text) is None


@given(st.text())
def test_no_text_is_too_strange(text: str) -> None:
    parse(text)
    parse("{" + text + "}")


def test_candidates_that_differ_by_case_alone_are_the_same() -> None:
    texts = [json.dumps({"caption": caption, "scene": "A table."}) for caption in ("A mug.", "A MUG.", "A cup.")]
    assert [each.caption for each in usable(texts, load_prompt(Subject.PRODUCT))] == ["A mug.", "A cup."]
