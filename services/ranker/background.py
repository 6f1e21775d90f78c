"""A background as the ranker knows it: texts and attributes, no pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chassis.errors import NotFound


class LibraryNotFound(NotFound):
    """The library holds no background."""

    reason = "LIBRARY_NOT_FOUND"

    def __init__(self, library: str) -> None:
        super().__init__(
            f"Library libraries/{library} does not exist: import a background into it first.",
            metadata={"library": f"libraries/{library}"},
        )


class BackgroundNotFound(NotFound):
    """The library has no background of that id."""

    reason = "BACKGROUND_NOT_FOUND"

    def __init__(self, name: "BackgroundName") -> None:
        super().__init__(f"Background {name} does not exist.", metadata={"background": str(name)})


@dataclass(frozen=True, slots=True)
class BackgroundName:
    """The resource name `libraries/{library}/backgrounds/{background}`."""

    library: str
    background: str

    @classmethod
    def parse(cls, name: str) -> "BackgroundName":
        """Splits a name that the contract's rules have accepted."""
        _, library, _, background = name.split("/")
        return cls(library, background)

    def __str__(self) -> str:
        return f"libraries/{self.library}/backgrounds/{self.background}"


@dataclass(frozen=True, slots=True)
class Background:
    """What is stored of a background.

    Attributes:
        name: its resource name.
        captions: the texts it is found by, each compared on its own.
        attributes: what it is filtered by: the values of each key, in the order they were given.
        metadata: the owner's own data, of JSON types.
        update_time: when it was stored, with a time zone.
    """

    name: BackgroundName
    captions: tuple[str, ...]
    attributes: Mapping[str, tuple[str, ...]]
    metadata: Mapping[str, Any]
    update_time: datetime


@dataclass(frozen=True, slots=True)
class Filter:
    """Keeps backgrounds with one of the values `any_of` under `key`; with `exclude`, those with none of them."""

    key: str
    any_of: tuple[str, ...]
    exclude: bool = False
