"""Translations: each English sentence once, in its order, and nothing lost."""

import json

import pytest

from services.generator.candidates import Candidate, Translation, Unreadable
from services.generator.translation import TranslationPrompt, load_translation_prompt, sentences_of

CANDIDATES = [Candidate("A mug.", "On oak."), Candidate("A blue mug.", "On stone."), Candidate("A mug.", "On silk.")]


@pytest.fixture
def prompt() -> TranslationPrompt:
    return load_translation_prompt()


def test_each_sentence_is_asked_for_once_as_data(prompt: TranslationPrompt) -> None:
    *_, question = prompt.messages(CANDIDATES, "pt-BR")
    assert json.loads(question["content"]) == {
        "language": "pt-BR",
        "sentences": ["A mug.", "A blue mug.", "On oak.", "On stone.", "On silk."],
    }
    assert prompt.schema(CANDIDATES)["properties"]["sentences"]["minItems"] == 5


def test_translations_stand_beside_what_they_translate(prompt: TranslationPrompt) -> None:
    written = ["Tasse.", "Blaue Tasse.", "Auf Eiche.", "Auf Stein.", "Auf Seide."]
    found = prompt.read(f"Gern: {json.dumps({'sentences': written})}", CANDIDATES)
    assert [each.caption for each in found] == [each.caption for each in CANDIDATES]
    assert [each.translation for each in found] == [
        Translation("Tasse.", "Auf Eiche."),
        Translation("Blaue Tasse.", "Auf Stein."),
        Translation("Tasse.", "Auf Seide."),
    ]


@pytest.mark.parametrize("text", ["", "{}", '{"sentences": []}', '{"sentences": ["Tasse."]}', '{"sentences": [1, 2]}'])
def test_an_answer_that_lacks_a_sentence_is_unreadable(prompt: TranslationPrompt, text: str) -> None:
    with pytest.raises(Unreadable):
        prompt.read(text, CANDIDATES)


def test_the_examples_translate_each_of_their_sentences(prompt: TranslationPrompt) -> None:
    for each in prompt._content.examples:
        assert len(each.sentences) == len(each.translations)
    assert len(sentences_of(CANDIDATES)) == 5
