"""Answers, and how they are remembered."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cachetools import LRUCache

from services.generator.candidates import Candidate
from services.generator.usage import Usage


@dataclass(frozen=True)
class Answer:
    """Candidates that differ, and where they come from."""

    candidates: Sequence[Candidate]
    model: str
    prompt_version: str
    language: str
    usage: Usage
    cached: bool = False


class AnswerCache(Protocol):
    """Remembers answers."""

    async def get(self, key: str) -> Answer | None:
        """The answer under `key`; None where there is none."""

    async def put(self, key: str, answer: Answer) -> None:
        """Remembers `answer`."""


def key_of(*parts: Any) -> str:
    """A short key for what an answer depends on."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class MemoryCache:
    """Remembers `entries` answers; the least recently used is dropped first."""

    def __init__(self, entries: int) -> None:
        self._answers: LRUCache[str, Answer] = LRUCache(entries)

    async def get(self, key: str) -> Answer | None:
        """The answer under `key`; None where there is none."""
        return self._answers.get(key)

    async def put(self, key: str, answer: Answer) -> None:
        """Remembers `answer`."""
        self._answers[key] = answer
