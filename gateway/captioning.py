"""Captions for a photo: written by the language model, checked against the photo, or made by a template."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from prometheus_client import Counter

from chassis.deadlines import Deadline
from chassis.errors import BackdropError
from chassis.languages import is_english
from chassis.tracing import current_span
from gateway import grounding, templates
from gateway.domain import Candidate, Degradation, Draft, Drafts, Feature, Reading, Subject
from gateway.stopwatch import Stopwatch

log = structlog.get_logger(__name__)

DEGRADED = Counter("backdrop_gateway_degraded", "Requests with a stage degraded.", ["stage", "reason"])
CANDIDATES = Counter("backdrop_gateway_candidates", "Candidates that the language model wrote.")
DROPPED = Counter("backdrop_gateway_dropped_candidates", "Candidates that the photo did not support.")

CAPTIONS_SHARE = 0.7
"""Of the time that is left, what the language model may use; the rest is for grounding and ranking."""
GROUNDING_SHARE = 0.5

NAMING_CATEGORIES = {Subject.PRODUCT: ("object_type",), Subject.BACKGROUND: ("scene", "surface")}
"""What names the thing in a photo. Told only its colour and mood, a language model would invent the thing."""


@dataclass(frozen=True, slots=True)
class Captioned:
    """What there is to say about a photo, and how it came about.

    Attributes:
        candidates: all that was written, the best grounded first.
        model: the language model; empty when it gave nothing.
    """

    candidates: tuple[Candidate, ...]
    degraded: tuple[Degradation, ...] = ()
    model: str = ""

    @property
    def used(self) -> tuple[Candidate, ...]:
        """The candidates that the photo supports; never empty."""
        return tuple(candidate for candidate in self.candidates if candidate.used)

    @property
    def templated(self) -> bool:
        """The captions in use are a template's."""
        return any(each.stage == "captions" for each in self.degraded)


class TextScorer(Protocol):
    """Tells how well texts fit a photo that was read: the captioner, over gRPC or in this process."""

    async def score(self, reading: Reading, texts: Sequence[str], timeout_s: float) -> tuple[float, ...]:
        """The cosine of the photo with each of n texts, n of them, -1 to 1."""
        ...


class LanguageModel(Protocol):
    """Writes captions from the features of a photo: the generator, or what stands for there being none."""

    async def write(
        self, features: Sequence[Feature], subject: Subject, count: int, language: str, timeout_s: float
    ) -> Drafts:
        """Up to `count` captions, each with a scene, from the sure features of a photo."""
        ...


class CaptionWriter:
    """Asks the generator for captions, drops what the photo does not support, and never comes back empty-handed."""

    def __init__(self, generator: LanguageModel, captioner: TextScorer, margin: float) -> None:
        self._generator = generator
        self._captioner = captioner
        self._margin = margin

    async def write(
        self, reading: Reading, subject: Subject, count: int, language: str, deadline: Deadline, stopwatch: Stopwatch
    ) -> Captioned:
        """Up to `count` captions of what was read.

        A generator that fails or is late does not fail the call: a template writes instead, and `degraded` says so.
        """
        template = templates.write(reading.features, subject)
        captioned = await self._checked(reading, subject, count, language, template, deadline, stopwatch)
        if any(each.draft.translation for each in captioned.candidates) or is_english(language):
            return captioned
        message = f"There is no translation into {language}: captions and scenes are English."
        return replace(captioned, degraded=(*captioned.degraded, degradation("language", "NOT_TRANSLATED", message)))

    async def _checked(
        self,
        reading: Reading,
        subject: Subject,
        count: int,
        language: str,
        template: Draft,
        deadline: Deadline,
        stopwatch: Stopwatch,
    ) -> Captioned:
        if not _says_what_it_shows(reading, subject):
            message = "What the photo shows was not read with enough confidence to write about it."
            return _fall_back(template, "NO_SURE_FEATURES", message)
        try:
            with stopwatch.stage("captions"):
                timeout_s = deadline.share(CAPTIONS_SHARE)
                written = await self._generator.write(reading.sure, subject, count, language, timeout_s)
        except BackdropError as error:
            return _fall_back(template, error.reason, error.message)
        with stopwatch.stage("grounding"):
            return await self._ground(written.drafts, written.model, template, reading, deadline)

    async def _ground(
        self, drafts: tuple[Draft, ...], model: str, template: Draft, reading: Reading, deadline: Deadline
    ) -> Captioned:
        texts = [template.caption, *(draft.caption for draft in drafts)]
        try:
            baseline, *scores = await self._captioner.score(reading, texts, deadline.share(GROUNDING_SHARE))
        except BackdropError as error:
            unchecked = degradation("grounding", error.reason, f"Captions were not checked: {error.message}")
            captioned = Captioned(grounding.unchecked(drafts), (unchecked,), model)
        else:
            captioned = Captioned(grounding.judge(drafts, scores, baseline, self._margin), model=model)
        CANDIDATES.inc(len(drafts))
        DROPPED.inc(len(captioned.candidates) - len(captioned.used))
        if captioned.used:
            return captioned
        message = "The photo supported none of the captions that the language model wrote."
        fallback = _fall_back(template, "NONE_GROUNDED", message)
        candidates = (*fallback.candidates, *captioned.candidates)
        return Captioned(candidates, (*captioned.degraded, *fallback.degraded), model)


def _says_what_it_shows(reading: Reading, subject: Subject) -> bool:
    """Something is sure and, where the taxonomy has categories that name the thing, one of them is."""
    naming = [each for each in reading.features if each.category in NAMING_CATEGORIES[subject]]
    return any(each.labels for each in naming or reading.features)


def _fall_back(template: Draft, reason: str, message: str) -> Captioned:
    templated = degradation("captions", reason, f"Captions come from a template. {message}")
    candidate = Candidate(template, 0.0, True, "Made of the photo's features by a template.")
    return Captioned((candidate,), (templated,))


def degradation(stage: str, reason: str, message: str) -> Degradation:
    """Counts and logs that a stage was degraded, for the response to say so."""
    DEGRADED.labels(stage, reason).inc()
    current_span().add_event("degraded", {"stage": stage, "reason": reason})
    log.warning("degraded", stage=stage, reason=reason, message=message)
    return Degradation(stage, reason, message)
