"""Candidates in another language: what was written in English, translated by the same model.

A call of its own, so that what is found for a product never depends on the language that its shop reads.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import yaml
from pydantic import BaseModel, Field

from services.generator.candidates import Candidate, Sentence, Translation, Unreadable, validated
from services.generator.prompt import PROMPTS, SENTENCE, Message, Strict, digest_of, json_array, json_object


class TranslatedExample(Strict):
    """English sentences, and what they are in another language."""

    language: str
    sentences: Sequence[str]
    translations: Sequence[str]


class TranslationFile(Strict):
    """What the prompt's file holds."""

    version: int = Field(ge=1)
    instruction: str
    examples: Sequence[TranslatedExample]


class TranslationPrompt:
    """Asks for translations of candidates."""

    def __init__(self, content: TranslationFile, version: str) -> None:
        self.version = version
        self._content = content

    def messages(self, candidates: Sequence[Candidate], language: str) -> list[Message]:
        """The chat that asks for the sentences of `candidates` in the language of a BCP 47 tag."""
        return [*self._prefix, {"role": "user", "content": _question(sentences_of(candidates), language)}]

    def schema(self, candidates: Sequence[Candidate]) -> dict[str, Any]:
        """The JSON schema of the answer."""
        return json_object({"sentences": json_array([SENTENCE] * len(sentences_of(candidates)))})

    def read(self, text: str, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates with their translations.

        Raises:
            Unreadable: the answer is no JSON, or not one sentence for each.
        """
        written = validated(_Answer, text).sentences
        english = sentences_of(candidates)
        if len(written) != len(english):
            raise Unreadable(f"sentences: there must be {len(english)}, one for each.")
        known = dict(zip(english, written, strict=True))
        return [replace(each, translation=Translation(known[each.caption], known[each.scene])) for each in candidates]

    @cached_property
    def _prefix(self) -> list[Message]:
        turns: list[Message] = [{"role": "system", "content": self._content.instruction}]
        for each in self._content.examples:
            answer = json.dumps({"sentences": list(each.translations)}, ensure_ascii=False)
            turns.append({"role": "user", "content": _question(each.sentences, each.language)})
            turns.append({"role": "assistant", "content": answer})
        return turns


class _Answer(BaseModel):
    sentences: list[Sentence]


def load_translation_prompt() -> TranslationPrompt:
    """Reads and checks the prompt. Raises pydantic.ValidationError when it does not hold what it needs."""
    raw = (PROMPTS / "translation.yaml").read_bytes()
    content = TranslationFile.model_validate(yaml.safe_load(raw))
    return TranslationPrompt(content, f"translation-{content.version}-{digest_of(raw)}")


def sentences_of(candidates: Sequence[Candidate]) -> list[str]:
    """The captions and scenes, each once."""
    return list(dict.fromkeys([*(each.caption for each in candidates), *(each.scene for each in candidates)]))


def _question(sentences: Sequence[str], language: str) -> str:
    return json.dumps({"language": language, "sentences": list(sentences)}, ensure_ascii=False)
