"""Turns features into captions and scenes: asks the language model, and keeps what can be used."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog
from prometheus_client import Counter

from chassis.coalescing import Coalescing
from chassis.deadlines import Deadline
from chassis.errors import BackdropError
from chassis.tracing import span
from services.generator import reading
from services.generator.answer_cache import Answer, AnswerCache, key_of
from services.generator.candidates import Candidate, Unreadable
from services.generator.claims import ClaimChecker
from services.generator.completion import Completion
from services.generator.dialect import Question
from services.generator.errors import LlmGarbled, LlmRejected, LlmTimeout
from services.generator.labels import require_names
from services.generator.language_model import LanguageModel
from services.generator.languages import ENGLISH, language_of_answer
from services.generator.prompt import Features, Prompt, Subject
from services.generator.suitability import SuitabilityChecker
from services.generator.translation import TranslationPrompt
from services.generator.usage import Usage

log = structlog.get_logger(__name__)

CACHE_LOOKUPS = Counter("backdrop_generator_cache_lookups", "Requests by whether the cache knew them.", ["result"])
LLM_ERRORS = Counter("backdrop_generator_llm_errors", "Requests that the language model failed, by reason.", ["reason"])


@dataclass(frozen=True)
class _Task:
    """What is asked of the language model.

    Attributes:
        about: all that the answer depends on, besides the model.
        question: makes what is asked, which takes longer than finding a remembered answer.
        read: the candidates in the text of an answer; raises `Unreadable`.
        language: of what is written.
    """

    about: tuple[Any, ...]
    question: Callable[[], Question]
    read: Callable[[str], list[Candidate]]
    prompt_version: str
    language: str = ENGLISH


class CaptionWriter:
    """Writes captions, once for all who ask for the same, and remembers what it wrote.

    Args:
        model: the language model.
        prompts: one for each subject.
        translation: the prompt for other languages.
        claims: finds what captions of products claim that no feature supports.
        suitability: finds what scenes show that a background must not.
        cache: remembers the answers.
        languages: tags of the languages that the model writes; none for what is known of it.
        patterns: bar the model from leaving the form that the prompts have.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Mapping[Subject, Prompt],
        translation: TranslationPrompt,
        claims: ClaimChecker,
        suitability: SuitabilityChecker,
        cache: AnswerCache,
        *,
        languages: Sequence[str] = (),
        patterns: bool = True,
    ) -> None:
        self._model = model
        self._prompts = prompts
        self._translation = translation
        self._claims = claims
        self._suitability = suitability
        self._cache = cache
        self._languages = languages
        self._patterns = patterns
        self._coalescing: Coalescing[Answer] = Coalescing("generator")

    async def write(self, features: Features, subject: Subject, count: int, language: str, timeout_s: float) -> Answer:
        """Writes at most `count` candidates, translated into the language of a BCP 47 tag where the model knows it.

        Raises:
            BackdropError: one of those in errors.py, or `InvalidArgument` when no label is a name.
        """
        names = require_names(features)
        deadline = Deadline(timeout_s)
        answer = await self._shared(self._writing(names, subject, count), deadline)
        language = language_of_answer(language, answer.model, self._languages)
        return answer if language == ENGLISH else await self._translated(answer, language, deadline)

    def _writing(self, features: Features, subject: Subject, count: int) -> _Task:
        prompt = self._prompts[subject]

        def question() -> Question:
            schema = prompt.schema(features, count, patterns=self._patterns)
            return Question(prompt.messages(features, count), schema, prompt.schema(features, count, patterns=False))

        about = (prompt.version, self._patterns, features, count)

        def read(text: str) -> list[Candidate]:
            found = prompt.read(text, count)
            return [self._checked(each, features) for each in found] if subject is Subject.PRODUCT else found

        return _Task(about, question, read, prompt.version)

    def _checked(self, candidate: Candidate, features: Features) -> Candidate:
        return replace(
            candidate,
            unsupported=self._claims.unsupported(candidate.caption, features),
            unsuitable=self._suitability.unsuitable(candidate.scene, features),
        )

    async def _translated(self, english: Answer, language: str, deadline: Deadline) -> Answer:
        """The answer with translations; as it is where they cannot be had."""
        found, prompt = english.candidates, self._translation

        def question() -> Question:
            return Question(prompt.messages(found, language), prompt.schema(found), prompt.schema(found))

        read = partial(prompt.read, candidates=found)
        about = (prompt.version, language.lower(), [(each.caption, each.scene) for each in found])
        try:
            answer = await self._shared(_Task(about, question, read, english.prompt_version, language), deadline)
        except BackdropError as error:
            log.warning("not_translated", language=language, reason=error.reason)
            return english
        return replace(answer, usage=english.usage + answer.usage, cached=english.cached and answer.cached)

    async def _shared(self, task: _Task, deadline: Deadline) -> Answer:
        """The answer to a task, together with all who wait for the same."""
        try:
            model = await self._model.name(deadline)
            key = key_of(self._model.variant, model, *task.about)
            answer, joined = await self._coalescing.join(key, partial(self._answer, key, task), deadline)
        except TimeoutError as error:
            LLM_ERRORS.labels(LlmTimeout.reason).inc()
            raise LlmTimeout("The language model did not answer in time.") from error
        except BackdropError as error:
            LLM_ERRORS.labels(error.reason).inc()
            raise
        return replace(answer, usage=Usage()) if joined else answer

    async def _answer(self, key: str, task: _Task, deadline: Deadline) -> Answer:
        with span("cache lookup") as looking:
            known = await self._cache.get(key)
            looking.set_attribute("backdrop.cache_hit", known is not None)
        CACHE_LOOKUPS.labels("miss" if known is None else "hit").inc()
        if known is not None:
            return replace(known, usage=Usage(), cached=True)
        answer = await self._ask(task, deadline)
        await self._cache.put(key, answer)
        return answer

    async def _ask(self, task: _Task, deadline: Deadline) -> Answer:
        question = task.question()
        completion = await self._model.complete(question, deadline)
        usage = completion.usage
        try:
            found = reading.read(completion, task.read)
        except Unreadable as problem:
            completion = await self._ask_again(question, completion, problem, deadline)
            usage += completion.usage
            found = _read_or_fail(completion, task)
        return Answer(found, completion.model, task.prompt_version, task.language, usage)

    async def _ask_again(
        self, question: Question, answer: Completion, problem: Unreadable, deadline: Deadline
    ) -> Completion:
        log.info("asking_again", model=answer.model, problem=str(problem))
        messages = [*question.messages, *reading.asking_again(answer, problem)]
        try:
            return await self._model.complete(replace(question, messages=messages), deadline)
        except LlmRejected as error:
            # The longer chat may be more than the model can read.
            raise _garbled(answer, problem) from error


def _read_or_fail(completion: Completion, task: _Task) -> list[Candidate]:
    try:
        return reading.read(completion, task.read)
    except Unreadable as problem:
        raise _garbled(completion, problem) from problem


def _garbled(completion: Completion, problem: Unreadable) -> LlmGarbled:
    log.warning("garbled", model=completion.model, problem=str(problem), text=completion.text[:200])
    return LlmGarbled("The answer of the language model could not be read.")
