"""How a server understands the OpenAI API: which structured output, and which parameters of a request."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import openai

from services.generator.prompt import Message

StructuredOutput = Literal["json_schema", "json_object", "none"]
WEAKER: dict[StructuredOutput, StructuredOutput] = {"json_schema": "json_object", "json_object": "none"}

PARAMETERS = ("max_tokens", "temperature", "top_p", "seed")
"""What a server may refuse; OpenAI's reasoning models refuse all but the last, and want `max_completion_tokens`."""

REFUSALS = (400, 404, 422, 501)
"""What servers answer when they do not know a field or its value."""

OTHER_PROBLEMS = ("model_not_found", "context_length_exceeded", "content_filter", "invalid_api_key")

TELLING = "Answer with one JSON object alone, without a code fence, that fits this JSON schema:"


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn; `seed` -1 and `max_tokens` 0 are not sent."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Question:
    """What the model is asked.

    Attributes:
        messages: the chat; a system message comes first.
        schema: the JSON schema of the answer.
        outline: the same for a reader: without expressions.
    """

    messages: Sequence[Message]
    schema: dict[str, Any]
    outline: dict[str, Any]


@dataclass(frozen=True)
class Dialect:
    """What is sent to a server.

    Attributes:
        structured_output: how the answer is held to its schema; below `json_schema` the model is told it in words.
        fixed: whether `structured_output` stays, whatever the server says.
        refused: the parameters that are not sent.
    """

    structured_output: StructuredOutput = "json_schema"
    fixed: bool = False
    refused: frozenset[str] = frozenset()

    def request(self, question: Question, sampling: Sampling) -> dict[str, Any]:
        """The fields of a request that asks `question`."""
        return {"messages": self._messages(question), **self._response_format(question), **self._parameters(sampling)}

    def without(self, refusal: openai.APIStatusError) -> "Dialect | None":
        """The dialect that lacks what the server refused; None where something else is wrong."""
        if refusal.status_code not in REFUSALS or refusal.code in OTHER_PROBLEMS:
            return None
        parameter = self._refused_parameter(refusal)
        if parameter:
            return replace(self, refused=self.refused | {parameter})
        weaker = None if self.fixed else WEAKER.get(self.structured_output)
        if weaker is None or _names_another(refusal.param):
            return None
        return replace(self, structured_output=weaker)

    def _refused_parameter(self, refusal: openai.APIStatusError) -> str | None:
        blamed = refusal.param or refusal.response.text
        if re.search("response_format|json_schema", blamed):
            return None
        sent = (each for each in PARAMETERS if each not in self.refused)
        return next((each for each in sent if re.search(rf"\b{each}\b", blamed)), None)

    def _messages(self, question: Question) -> Sequence[Message]:
        if self.structured_output == "json_schema":
            return question.messages
        system, *rest = question.messages
        told = f"{system['content']}\n\n{TELLING}\n{json.dumps(question.outline)}"
        return [{"role": system["role"], "content": told}, *rest]

    def _response_format(self, question: Question) -> dict[str, Any]:
        if self.structured_output == "none":
            return {}
        if self.structured_output == "json_object":
            return {"response_format": {"type": "json_object"}}
        schema = {"name": "captions_and_scenes", "strict": True, "schema": question.schema}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}

    def _parameters(self, sampling: Sampling) -> dict[str, Any]:
        wanted = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        if sampling.seed >= 0:
            wanted["seed"] = sampling.seed
        if sampling.max_tokens:
            wanted["max_tokens"] = sampling.max_tokens
        if sampling.max_tokens and "max_tokens" in self.refused:
            wanted["max_completion_tokens"] = sampling.max_tokens
        return {name: value for name, value in wanted.items() if name not in self.refused}


def first_dialect(setting: Literal["auto", "json_schema", "json_object", "none"]) -> Dialect:
    """What is tried first; a setting other than `auto` stays."""
    return Dialect() if setting == "auto" else Dialect(setting, fixed=True)


def _names_another(parameter: str | None) -> bool:
    return bool(parameter) and not str(parameter).startswith(("response_format", "body.response_format"))
