"""What each step against invention leaves, and how much of that is wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.generator.claims import ClaimChecker, Kind
from services.generator.prompt import Features
from services.generator.wordnet import WordNet


@dataclass(frozen=True)
class Caption:
    """A caption of a photo.

    Attributes:
        text: itself.
        score: image-text score against the photo.
        marked: words that no feature supports.
        wrong: what it says that the photo does not show; by kind.
    """

    text: str
    score: float
    marked: tuple[str, ...]
    wrong: dict[str, Kind]


@dataclass(frozen=True)
class Answer:
    """What was written about a photo, and the template's caption, which is used where none of that is."""

    captions: Sequence[Caption]
    template: Caption


Step = Callable[[Answer], Sequence[Caption]]
"""Which of an answer's captions are used."""


@dataclass(frozen=True)
class Tally:
    """Counts over the captions that are used, the template's among them.

    Attributes:
        captions: how many.
        wrong: those that claim anything wrong.
        wrong_thing: those that name a thing that is not there.
        wrong_look: those that name a wrong colour or material.
        answers: how many answers there were.
        templated: those of which no caption was used.
    """

    captions: int
    wrong: int
    wrong_thing: int
    wrong_look: int
    answers: int
    templated: int


class Judge:
    """Judges captions by what somebody saw in the photos. Nothing more special counts as seen than what was written."""

    def __init__(self) -> None:
        self._checker = ClaimChecker(WordNet(), next_special=False)

    def wrong(self, caption: str, shows: Features) -> dict[str, Kind]:
        """The words that say something that the photo does not show, and what they claim."""
        kinds = {claim.word: claim.kind for claim in self._checker.claims(caption)}
        return {word: kinds[word] for word in self._checker.unsupported(caption, shows)}


def keep_all(answer: Answer) -> Sequence[Caption]:
    """No check."""
    return answer.captions


def keep_unmarked(answer: Answer) -> Sequence[Caption]:
    """Words that no feature supports are not let through."""
    return [each for each in answer.captions if not each.marked]


def photo_decides(margin: float, bonus: float) -> Step:
    """A caption may score `margin` below the template's; one with unsupported words has to score `bonus` above it."""

    def keep(answer: Answer) -> Sequence[Caption]:
        baseline = answer.template.score
        return [each for each in answer.captions if each.score >= baseline + (bonus if each.marked else -margin)]

    return keep


def tally(answers: Sequence[Answer], step: Step, *, template: bool = True) -> Tally:
    """Counts what `step` lets through, with the template's caption where that is nothing."""
    kept = [step(answer) for answer in answers]
    instead = [[answer.template] if template else [] for answer in answers]
    used = [each for captions, other in zip(kept, instead, strict=True) for each in captions or other]
    return Tally(
        len(used),
        sum(bool(each.wrong) for each in used),
        sum(Kind.THING in each.wrong.values() for each in used),
        sum(not {Kind.COLOR, Kind.MATERIAL}.isdisjoint(each.wrong.values()) for each in used),
        len(kept),
        sum(not captions for captions in kept),
    )
