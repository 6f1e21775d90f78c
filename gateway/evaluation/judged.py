"""What the recommender said of backgrounds that people graded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIGNALS = ("text", "image", "photo", "color", "space", "keywords")


class BadLabels(ValueError):
    """A file of grades that cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One product: its graded backgrounds, and how like the product each is by each signal.

    Attributes:
        product: the photo's file.
        backgrounds: n ids.
        grades: n of them, 0 for unfit; the higher the better.
        similarities: (n, signals), in the order of `SIGNALS`; lower than any other where the recommender did not
            come to a background.
        ranking: the ids of the backgrounds that were recommended with the weights in use, the best first.
        latency_ms: of that recommendation, at the client.
    """

    product: str
    backgrounds: tuple[str, ...]
    grades: Array
    similarities: Array
    ranking: tuple[str, ...]
    latency_ms: float

    def ranked_by(self, weights: Array) -> tuple[str, ...]:
        """The ids as they would be ranked with other weights, one for each signal."""
        order = np.argsort(-(self.similarities @ weights), kind="stable")
        return tuple(self.backgrounds[each] for each in order)

    @property
    def grade_of(self) -> Mapping[str, float]:
        """The grade of each background."""
        return dict(zip(self.backgrounds, map(float, self.grades), strict=True))


def read_labels(path: Path) -> dict[str, dict[str, int]]:
    """By product file, the grade of each background id.

    Args:
        path: JSON lines such as `{"product": "mug.jpg", "grades": {"oak-table": 3, "beach": 0}}`.

    Raises:
        BadLabels: with the line.
    """
    labels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            product, grades = _read_line(line, f"{path}, line {number}")
            labels[product] = grades
    if not labels:
        raise BadLabels(f"{path} holds no grades.")
    return labels


def _read_line(line: str, where: str) -> tuple[str, dict[str, int]]:
    example = '{"product": "mug.jpg", "grades": {"oak-table": 3, "beach": 0}}'
    try:
        row = json.loads(line)
        product, grades = str(row["product"]), dict(row["grades"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadLabels(f"{where} is not like {example}.") from error
    if not all(isinstance(grade, int) and grade >= 0 for grade in grades.values()):
        raise BadLabels(f"{where}: grades are whole numbers, 0 for unfit and more for better.")
    if not any(grades.values()):
        raise BadLabels(f"{where}: none of the backgrounds has a grade above 0, so there is nothing to find.")
    return product, grades
