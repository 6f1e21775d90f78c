"""Which of a category's labels a photo supports: those that lead clearly, or none."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChosenLabel:
    """A label that a photo supports.

    Attributes:
        name: as the taxonomy spells it.
        confidence: 0 to 1.
        margin: how far its confidence leads that of the best label that was not chosen.
    """

    name: str
    confidence: float
    margin: float


def choose_labels(
    confidences: Mapping[str, float], max_labels: int, min_confidence: float, min_margin: float
) -> tuple[ChosenLabel, ...]:
    """The most labels, up to `max_labels`, that are confident enough and lead the next one by `min_margin`.

    A thin margin is no reason to guess: then fewer labels are chosen, or none.
    """
    ranked = sorted(confidences.items(), key=lambda item: -item[1])
    ranked.append(("", 0.0))
    count = sum(confidence >= min_confidence for _, confidence in ranked[:max_labels] if confidence > 0)
    while count and ranked[count - 1][1] - ranked[count][1] < min_margin:
        count -= 1
    runner_up = ranked[count][1]
    return tuple(ChosenLabel(name, confidence, confidence - runner_up) for name, confidence in ranked[:count])
