"""Turns features into captions and scenes: asks the language model, and keeps what can be used."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog
from cachetools import LRUCache
from prometheus_client import Counter

from services.generator.errors import LlmGarbled
from services.generator.language_model import LLM_ERRORS, LanguageModel, Usage
from services.generator.prompt import Features, Prompt, Subject

log = structlog.get_logger(__name__)

CACHE_LOOKUPS = Counter("backdrop_generator_cache_lookups", "Requests by whether the cache knew them.", ["result"])
DROPPED = Counter("backdrop_generator_candidates_dropped", "Candidates that could not be used, by reason.", ["reason"])


@dataclass(frozen=True)
class Candidate:
    """What a photo shows, and the scene that goes with it; a sentence each."""

    caption: str
    scene: str


@dataclass(frozen=True)
class Answer:
    """Candidates that differ, and where they come from."""

    candidates: Sequence[Candidate]
    model: str
    prompt_version: str
    usage: Usage
    cached: bool = False


class CaptionWriter:
    """Writes captions, and remembers what it wrote.

    Args:
        model: the language model.
        prompts: one for each subject.
        cache_entries: how many answers are remembered; the least recently used is dropped first.
        patterns: bar the model from leaving the form that the prompts have for English.
    """

    def __init__(
        self, model: LanguageModel, prompts: Mapping[Subject, Prompt], cache_entries: int, *, patterns: bool = True
    ) -> None:
        self._patterns = patterns
        self._model = model
        self._prompts = prompts
        self._answers: LRUCache[tuple[object, ...], Answer] = LRUCache(cache_entries)

    async def write(self, features: Features, subject: Subject, count: int, language: str, timeout_s: float) -> Answer:
        """Writes at most `count` candidates in the language of a BCP 47 tag.

        Raises:
            BackdropError: one of those in errors.py.
        """
        prompt = self._prompts[subject]
        model = await self._model.name(timeout_s)
        frozen = tuple((category, tuple(labels)) for category, labels in features)
        key = (model, prompt.version, frozen, count, language.lower())
        known = self._answers.get(key)
        CACHE_LOOKUPS.labels("miss" if known is None else "hit").inc()
        if known is not None:
            return replace(known, usage=Usage(), cached=True)
        answer = await self._ask(prompt, frozen, count, language, timeout_s)
        self._answers[key] = answer
        return answer

    async def _ask(self, prompt: Prompt, features: Features, count: int, language: str, timeout_s: float) -> Answer:
        messages = prompt.messages(features, language)
        completion = await self._model.complete(
            messages, prompt.schema(features, language, patterns=self._patterns), count, timeout_s
        )
        candidates = usable(completion.texts, prompt)[:count]
        if not candidates:
            LLM_ERRORS.labels(LlmGarbled.reason).inc()
            log.warning("garbled", model=completion.model, texts=[text[:200] for text in completion.texts])
            raise LlmGarbled(f"None of {len(completion.texts)} candidates of the language model could be read.")
        return Answer(candidates, completion.model, prompt.version, completion.usage)


def usable(texts: Iterable[str], prompt: Prompt) -> list[Candidate]:
    """Those of `texts` that are a candidate as the prompt asks for, each once, in their order."""
    found: dict[tuple[str, str], Candidate] = {}
    for text in texts:
        candidate = parse(text)
        if candidate is None:
            DROPPED.labels("unreadable").inc()
        elif not _fits(candidate, prompt):
            DROPPED.labels("too_long").inc()
        elif (key := (candidate.caption.casefold(), candidate.scene.casefold())) in found:
            DROPPED.labels("duplicate").inc()
        else:
            found[key] = candidate
    return list(found.values())


def parse(text: str) -> Candidate | None:
    """Reads `{"caption": ..., "scene": ...}`, also inside a fence or prose; None when there is no such thing."""
    try:
        answer = json.loads(text[text.index("{") : text.rindex("}") + 1])
        caption, scene = (" ".join(answer[name].split()) for name in ("caption", "scene"))
    except (ValueError, KeyError, AttributeError, RecursionError):
        return None
    return Candidate(caption, scene) if caption and scene else None


def _fits(candidate: Candidate, prompt: Prompt) -> bool:
    content = prompt.content
    return len(candidate.caption) <= content.caption.max_chars and len(candidate.scene) <= content.scene.max_chars
