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
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, TypedDict

import yaml
from pydantic import BaseModel, ConfigDict, Field

PROMPTS = Path(__file__).parent / "prompts"

PLACEHOLDER = re.compile(r"<(\w+)>")
PLAIN_LABEL = re.compile(r"[A-Za-z0-9]+([ -][A-Za-z0-9]+){0,5}")

Features = Sequence[tuple[str, Sequence[str]]]
"""Categories, each with its labels."""


Choices = Mapping[str, Sequence[str]]
"""What may stand for each name in a pattern."""


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

    In the expression `<name>` stands for one of the labels of the feature of that name, or else for one of the file's
    words of that name. Servers turn the JSON schema into a grammar, so a model that is told the form cannot leave it.
    """

    max_chars: int = Field(ge=1)
    english_pattern: str | None = None

    def json_schema(self, choices: Choices | None) -> dict[str, Any]:
        """The sentence's part of the JSON schema; with the pattern where there are `choices` to fill it."""
        if choices is None or self.english_pattern is None:
            return {"type": "string", "minLength": 1, "maxLength": self.max_chars}
        return {"type": "string", "pattern": filled(self.english_pattern, choices)}


class Family(_Strict):
    """Products of one kind: words that name them, and scenes that stylists choose for them."""

    words: Sequence[str] = Field(min_length=1)
    scenes: Sequence[str] = Field(min_length=1)

    def likeness(self, object_type: str) -> int:
        """The length of the longest of the words in `object_type`; 0 when it is another kind."""
        return max((len(word) for word in self.words if re.search(rf"\b{re.escape(word)}s?\b", object_type)), default=0)

    def examples(self, object_type: str) -> list[WorkedExample]:
        """An example for each scene."""
        features = {"object_type": [object_type]}
        caption = f"A plain {object_type}."
        return [WorkedExample(features=features, caption=caption, scene=scene) for scene in self.scenes]


class PromptFile(_Strict):
    """What a prompt's file holds."""

    version: int = Field(ge=1)
    instruction: str
    words: Mapping[str, Sequence[str]] = {}
    caption: Sentence
    scene: Sentence
    examples: Sequence[WorkedExample] = Field(min_length=1)
    families: Sequence[Family] = ()


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
        choices = {**self.content.words, **_plain(features)} if patterns and is_english(language) else None
        return {
            "type": "object",
            "properties": {
                "caption": self.content.caption.json_schema(choices),
                "scene": self.content.scene.json_schema(choices),
            },
            "required": ["caption", "scene"],
            "additionalProperties": False,
        }

    def messages(self, features: Features, language: str = "en") -> list[Message]:
        """The chat that asks for a caption and a scene of `features`, in the language of a BCP 47 tag."""
        examples = [turn for each in self._family_examples(features) for turn in _turns(each)]
        return [*self._prefix, *examples, {"role": "user", "content": _question(features, language)}]

    @cached_property
    def _prefix(self) -> list[Message]:
        instruction: Message = {"role": "system", "content": self.content.instruction}
        return [instruction, *(turn for each in self.content.examples for turn in _turns(each))]

    def _family_examples(self, features: Features) -> list[WorkedExample]:
        """Examples of the product's own kind; they stand last, where a small model heeds them most."""
        object_type = next((labels[0] for category, labels in features if category == "object_type" and labels), "")
        likeness, family = max(
            ((each.likeness(object_type), each) for each in self.content.families), key=itemgetter(0), default=(0, None)
        )
        return family.examples(object_type) if family and likeness else []


def load_prompt(subject: Subject) -> Prompt:
    """Reads and checks the prompt of `subject`.

    Raises:
        pydantic.ValidationError: the file does not hold what a prompt needs.
    """
    raw = (PROMPTS / f"{subject.value}.yaml").read_bytes()
    content = PromptFile.model_validate(yaml.safe_load(raw))
    return Prompt(f"{subject.value}-{content.version}-{hashlib.sha256(raw).hexdigest()[:8]}", content)


def filled(pattern: str, choices: Choices) -> str:
    """`pattern` with all choices of that name in place of each `<name>`."""
    return PLACEHOLDER.sub(lambda match: f"({'|'.join(choices[match[1]])})", pattern)


def _plain(features: Features) -> dict[str, list[str]]:
    """The labels that may get into an expression: any but plain words are the client's, and could be anything."""
    plain = {category: [label for label in labels if PLAIN_LABEL.fullmatch(label)] for category, labels in features}
    return {category: labels for category, labels in plain.items() if labels}


def _turns(example: WorkedExample) -> list[Message]:
    answer = {"caption": example.caption, "scene": example.scene}
    return [
        {"role": "user", "content": _question(list(example.features.items()), "en")},
        {"role": "assistant", "content": json.dumps(answer, ensure_ascii=False)},
    ]


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
