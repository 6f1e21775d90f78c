"""Prompts: what the language model is told, and the worked examples that it learns the form from.

A prompt is a YAML file in `prompts/`, one for each subject. All but the last message is the same in every call, and for
products in every call about one family, so that servers which keep a prefix (llama.cpp, vLLM, OpenAI) read it once.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from itertools import cycle, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, TypedDict

import yaml
from pydantic import BaseModel, ConfigDict, Field

from services.generator import candidates
from services.generator.candidates import MAX_CAPTIONS, MAX_CHARS, Candidate

PROMPTS = Path(__file__).parent / "prompts"

PLACEHOLDER = re.compile(r"<(?:([Aa]) )?(\w+)>")
PLAIN_NAME = re.compile(r"[A-Za-z0-9]+([ -][A-Za-z0-9]+){0,4}")

MAX_LABELS = 16
"""The most labels that a feature has."""

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


class Strict(BaseModel):
    """A part of a prompt's file: nothing in it may be unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WorkedExample(Strict):
    """Features, and the answer that we would like for them."""

    features: Mapping[str, Sequence[str]]
    captions: Sequence[str] = Field(min_length=1, max_length=MAX_CAPTIONS)
    scenes: Sequence[str] = Field(min_length=1)


class Family(Strict):
    """Products of one kind: words that name them, and scenes that stylists choose for them, the best first."""

    words: Sequence[str] = Field(min_length=1)
    scenes: Sequence[str] = Field(min_length=1)

    def likeness(self, object_type: str) -> int:
        """The length of the longest of the words in `object_type`; 0 when it is another kind."""
        return max((len(word) for word in self.words if re.search(rf"\b{re.escape(word)}s?\b", object_type)), default=0)

    def example(self) -> WorkedExample:
        """The scenes as an answer about the first of the words."""
        thing = self.words[0]
        return WorkedExample(features={"object_type": [thing]}, captions=[f"A plain {thing}."], scenes=self.scenes)


class PromptFile(Strict):
    """What a prompt's file holds.

    In a pattern `<name>` stands for one of the file's words of that name, or for one of the labels of the feature of
    that name and, where it is not known, for the `unknown` word; a caption's pattern of which something is not known is
    left out. Servers turn the JSON schema into a grammar, so a model that is told a pattern cannot leave it. The words
    of the `distinct` names are dealt out, so that no two scenes of an answer share one. A scene of a file with a
    `scene_form` is written as its parts.
    """

    version: int = Field(ge=1)
    instruction: str
    unknown: Mapping[str, str]
    words: Choices = {}
    named_labels: int = Field(default=MAX_LABELS, ge=1)
    caption_patterns: Sequence[str] = Field(min_length=1, max_length=MAX_CAPTIONS)
    scene_pattern: str
    scene_form: str = "{scene}"
    distinct: Sequence[str] = ()
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

    def schema(self, features: Features, count: int, *, patterns: bool = True) -> dict[str, Any]:
        """The JSON schema of an answer with `count` scenes; `patterns` bar a model from leaving the file's form."""
        captions: list[Any] = [SENTENCE] * caption_count(count)
        scenes: list[Any] = [SENTENCE] * count
        if patterns:
            choices = self._choices(features)
            captions = [_matching(each, choices) for each in self._caption_patterns(choices)]
            captions = list(islice(cycle(captions), caption_count(count)))
            hands = self._hands(features, count)
            scenes = [_matching(self.content.scene_pattern, {**choices, **hand}) for hand in hands]
        return json_object({"captions": json_array(captions), "scenes": json_array(scenes)})

    def messages(self, features: Features, count: int) -> list[Message]:
        """The chat that asks for captions and `count` scenes."""
        family = self._family(features)
        examples = _turns(family.example()) if family else []
        return [*self._prefix, *examples, {"role": "user", "content": _question(features, count)}]

    def read(self, text: str, count: int) -> list[Candidate]:
        """The candidates of an answer, their scenes as sentences. Raises `candidates.Unreadable`."""
        return candidates.read(text, count, self.content.scene_form)

    @cached_property
    def _prefix(self) -> list[Message]:
        instruction: Message = {"role": "system", "content": self.content.instruction}
        return [instruction, *(turn for each in self.content.examples for turn in _turns(each))]

    def _family(self, features: Features) -> Family | None:
        """The product's own kind, whose example stands last, where a small model heeds it most."""
        object_type = next((labels[0] for category, labels in features if category == "object_type" and labels), "")
        likeness, family = max(
            ((each.likeness(object_type), each) for each in self.content.families), key=itemgetter(0), default=(0, None)
        )
        return family if likeness else None

    def _choices(self, features: Features) -> Choices:
        unknown = {name: [word] for name, word in self.content.unknown.items()}
        known = {name: labels[: self.content.named_labels] for name, labels in _plain(features).items()}
        return {**unknown, **known, **self.content.words}

    def _caption_patterns(self, choices: Choices) -> list[str]:
        """The patterns that say nothing of what is not known."""
        return [each for each in self.content.caption_patterns if all(name in choices for name in _named(each))]

    def _hands(self, features: Features, count: int) -> list[Choices]:
        """For each scene the words that it alone may use; those of the family's scenes are in hands of their own."""
        family = self._family(features)
        scenes = family.scenes if family else ()
        pattern = filled(self.content.scene_pattern, self.content.words, group="(?P<{name}>{words})")
        found = [match.groupdict() for scene in scenes if (match := re.fullmatch(pattern, scene))]
        dealt = {
            name: deal(self.content.words[name], [each[name] for each in found], count)
            for name in self.content.distinct
        }
        return [{name: hands[place] for name, hands in dealt.items()} for place in range(count)]


def load_prompt(subject: Subject) -> Prompt:
    """Reads and checks the prompt of `subject`.

    Raises:
        pydantic.ValidationError: the file does not hold what a prompt needs.
    """
    raw = (PROMPTS / f"{subject.value}.yaml").read_bytes()
    content = PromptFile.model_validate(yaml.safe_load(raw))
    return Prompt(f"{subject.value}-{content.version}-{digest_of(raw)}", content)


def digest_of(raw: bytes) -> str:
    """What tells one text of a file from another."""
    return hashlib.sha256(raw).hexdigest()[:8]


def caption_count(count: int) -> int:
    """How many captions an answer with `count` scenes has."""
    return min(count, MAX_CAPTIONS)


def filled(pattern: str, choices: Choices, group: str = "({words})") -> str:
    """`pattern` with all choices of that name in place of each `<name>`.

    `<a name>` and `<A name>` stand for the choices with their article.
    """

    def fill(match: re.Match[str]) -> str:
        article, name = match.groups()
        words = [with_article(word, article) if article else word for word in choices[name]]
        return group.format(name=name, words="|".join(words))

    return PLACEHOLDER.sub(fill, pattern)


def _named(pattern: str) -> list[str]:
    return [name for _, name in PLACEHOLDER.findall(pattern)]


def with_article(noun: str, article: str) -> str:
    """`noun` after `a` or `A`, as English has it."""
    return f"{article}n {noun}" if noun[0].lower() in "aeiou" else f"{article} {noun}"


def deal(words: Sequence[str], first: Sequence[str], hands: int) -> list[list[str]]:
    """Deals each of `words` into one of the hands, in turn, after each hand got its own of `first`."""
    own = list(dict.fromkeys(first))[:hands]
    dealt = [[word] for word in own] + [[] for _ in range(hands - len(own))]
    for place, word in enumerate((word for word in words if word not in own), start=len(own)):
        dealt[place % hands].append(word)
    return dealt


SENTENCE: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_CHARS}


def _matching(pattern: str, choices: Choices) -> dict[str, Any]:
    return {"type": "string", "pattern": filled(pattern, choices)}


def json_object(properties: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object that has all of these and nothing else."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def json_array(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The JSON schema of an array of just these; servers know the plain form for equal ones better."""
    same = all(item == items[0] for item in items)
    of = {"items": items[0]} if same else {"prefixItems": list(items)}
    return {"type": "array", **of, "minItems": len(items), "maxItems": len(items)}


def _plain(features: Features) -> dict[str, list[str]]:
    """The labels that may get into an expression: any but plain names are the client's, and could be anything."""
    plain = {category: [label for label in labels if PLAIN_NAME.fullmatch(label)] for category, labels in features}
    return {category: labels for category, labels in plain.items() if labels}


def _turns(example: WorkedExample) -> list[Message]:
    answer = {"captions": example.captions, "scenes": example.scenes}
    question = _question(list(example.features.items()), len(example.scenes))
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": json.dumps(answer, ensure_ascii=False)},
    ]


def _question(features: Features, count: int) -> str:
    """The features as JSON: whatever a label says, it stays a quoted string, never an instruction of its own."""
    labels: dict[str, list[str]] = {}
    for category, names in features:
        labels.setdefault(category, []).extend(names)
    question: dict[str, Any] = {"features": {category: ", ".join(names) for category, names in labels.items()}}
    question |= {"captions": caption_count(count), "scenes": count}
    return json.dumps(question, ensure_ascii=False)
