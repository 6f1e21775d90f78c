"""Captions by a language model: the one on this machine, or any other."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import json_repair
from openai import AsyncOpenAI

from chassis.deadlines import Deadline
from services.generator.__main__ import language_model
from services.generator.candidates import Unreadable
from services.generator.config import GeneratorConfig
from services.generator.dialect import Question
from services.generator.prompt import Features, Prompt

AT_ONCE = 4
TIMEOUT_S = 300


@dataclass(frozen=True)
class Request:
    """What is asked: for captions of these features, in the prompt's form or freely."""

    features: Features
    patterns: bool
    seed: int


class Writer:
    """Asks a language model as the generator does.

    Args:
        client: reaches it.
        config: its name and how it is sampled.
        prompt: for products.
        scenes: asked for in each answer, beside the captions.
    """

    def __init__(self, client: AsyncOpenAI, config: GeneratorConfig, prompt: Prompt, scenes: int) -> None:
        self._client = client
        self._config = config
        self._prompt = prompt
        self._scenes = scenes
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def write_all(self, requests: Sequence[Request], advance: Callable[[], None]) -> list[tuple[str, ...]]:
        """The captions of each answer; none for one that cannot be read.

        Raises:
            BackdropError: the language model fails otherwise.
        """

        async def write(request: Request) -> tuple[str, ...]:
            async with self._at_once:
                captions = await self._write(request)
                advance()
                return captions

        return await asyncio.gather(*map(write, requests))

    async def _write(self, request: Request) -> tuple[str, ...]:
        config = self._config
        model = language_model(config.model_copy(update={"llm_seed": request.seed}), self._client)
        messages = self._prompt.messages(request.features, self._scenes)
        schema = self._prompt.schema(request.features, self._scenes, patterns=request.patterns)
        outline = self._prompt.schema(request.features, self._scenes, patterns=False)
        completion = await model.complete(Question(messages, schema, outline), Deadline(TIMEOUT_S))
        try:
            found = self._prompt.read(completion.text, self._scenes)
        except Unreadable:
            # The generator would not use it, but what it claims counts.
            return _captions_alone(completion.text)
        return tuple(dict.fromkeys(each.caption for each in found))


def _captions_alone(text: str) -> tuple[str, ...]:
    """The captions of an answer whose scenes cannot be read."""
    answer = json_repair.loads(text)
    captions = answer.get("captions") if isinstance(answer, dict) else None
    return tuple(each for each in captions if isinstance(each, str) and each) if isinstance(captions, list) else ()
