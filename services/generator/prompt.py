"""Prompts: what the language model is told, and the worked examples that it learns the form from.

A prompt is a YAML file in `prompts/`, one for each subject. All but the last message is the same in every call, so
that servers which keep a prefix (llama.cpp, vLLM, OpenAI) read it once.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict

import yaml
from pydantic import BaseModel, ConfigDict, Field

PROMPTS = Path(__file__).parent / "prompts"

PLACEHOLDER = re.compile(r"<(\w+)>")
PLAIN_LABEL = re.compile(r"[A-Za-z0-9]+([ -][A-Za-z0-9]+){0,5}")
ANY_WORD = "[a-z]{2,14}"

Features = Sequence[tuple[str, Sequence[str]]]
"""Categories, each with its labels."""


class Message(TypedDict):
    """One turn of a chat, as the OpenAI API has it."""

    role: Literal["system", "user", "assistant"]
    content: str


class Subject(Enum):
    """What the photo shows; the value is the name of the prompt's file."""

    PRODUCT = "product"
    BACKGROUND = "background"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WorkedExample(_Strict):
    """Features, and the answer that we would like for them."""

    features: Mapping[str, Sequence[str]]
    caption: str
    scene: str


class Sentence(_Strict):
    """What a sentence must look like: its length in characters and, in English, its form as a regular expression.

    In the expression `<category>` stands for one of the labels of that feature, or for any word. Servers turn the JSON
    schema into a grammar, so a model that is told the form cannot leave it.
    """

    max_chars: int = Field(ge=1)
    english_pattern: str | None = None

    def json_schema(self, features: Features | None) -> dict[str, Any]:
        """The sentence's part of the JSON schema; with the pattern where there are `features` to fill it."""
        if features is None or self.english_pattern is None:
            return {"type": "string", "minLength": 1, "maxLength": self.max_chars}
        return {"type": "string", "pattern": filled(self.english_pattern, features)}


class PromptFile(_Strict):
    """What a prompt's file holds."""

    version: int = Field(ge=1)
    instruction: str
    caption: Sentence
    scene: Sentence
    examples: Sequence[WorkedExample] = Field(min_length=1)


@dataclass(frozen=True)
class Prompt:
    """A prompt that is ready for features.

    Attributes:
        version: changes with every change of the file.
        content: the file.
    """

    version: str
    content: PromptFile

    def schema(self, features: Features, language: str = "en", *, patterns: bool = True) -> dict[str, Any]:
        """The JSON schema of an answer; `patterns` hold for English alone."""
        guides = features if patterns and is_english(language) else None
        return {
            "type": "object",
            "properties": {
                "caption": self.content.caption.json_schema(guides),
                "scene": self.content.scene.json_schema(guides),
            },
            "required": ["caption", "scene"],
            "additionalProperties": False,
        }

    @cached_property
    def _prefix(self) -> list[Message]:
        messages: list[Message] = [{"role": "system", "content": self.content.instruction}]
        for example in self.content.examples:
            answer = {"caption": example.caption, "scene": example.scene}
            messages.append({"role": "user", "content": _question(list(example.features.items()), "en")})
            messages.append({"role": "assistant", "content": json.dumps(answer, ensure_ascii=False)})
        return messages

    def messages(self, features: Features, language: str = "en") -> list[Message]:
        """The chat that asks for a caption and a scene of `features`, in the language of a BCP 47 tag."""
        return [*self._prefix, {"role": "user", "content": _question(features, language)}]


def load_prompt(subject: Subject) -> Prompt:
    """Reads and checks the prompt of `subject`.

    Raises:
        pydantic.ValidationError: the file does not hold what a prompt needs.
    """
    raw = (PROMPTS / f"{subject.value}.yaml").read_bytes()
    content = PromptFile.model_validate(yaml.safe_load(raw))
    return Prompt(f"{subject.value}-{content.version}-{hashlib.sha256(raw).hexdigest()[:8]}", content)


def filled(pattern: str, features: Features) -> str:
    """`pattern` with the features' labels in place of each `<category>`."""
    labels = dict(features)
    return PLACEHOLDER.sub(lambda match: _alternatives(labels.get(match[1], ())), pattern)


def _alternatives(labels: Sequence[str]) -> str:
    # Only plain words get into the expression: any other label is the client's, and could be anything.
    plain = [label for label in labels if PLAIN_LABEL.fullmatch(label)]
    return f"({'|'.join(plain)})" if plain else ANY_WORD


def is_english(language: str) -> bool:
    """Whether a BCP 47 tag names English, of whatever region."""
    return language.lower().split("-")[0] == "en"


def _question(features: Features, language: str) -> str:
    """The features as JSON: whatever a label says, it stays a quoted string, never an instruction of its own."""
    labels: dict[str, list[str]] = {}
    for category, names in features:
        labels.setdefault(category, []).extend(names)
    question: dict[str, Any] = {category: ", ".join(names) for category, names in labels.items()}
    if not is_english(language):
        question["write in language"] = language
    return json.dumps(question, ensure_ascii=False)
