"""The rules of a library: conditions that every hit fulfils, whoever asks."""

from dataclasses import dataclass
from datetime import datetime

from services.ranker.background import Condition
from services.ranker.signals import Vectors


@dataclass(frozen=True, slots=True)
class RulesName:
    """The rules of one library."""

    library: str

    def __str__(self) -> str:
        return f"libraries/{self.library}/rules"


@dataclass(frozen=True, slots=True)
class IndexedRules:
    """The rules of a library as they are stored.

    Attributes:
        library: whose they are.
        conditions: all of them, in the order they were given.
        update_time: when they were set, with a time zone.
        vector: zeros, (dimension,): every point has one, and nobody looks for rules by it.
    """

    library: str
    conditions: tuple[Condition, ...]
    update_time: datetime
    vector: Vectors

    @property
    def name(self) -> RulesName:
        """Of the library."""
        return RulesName(self.library)
