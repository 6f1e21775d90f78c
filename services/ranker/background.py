"""A background as the ranker knows it: texts and attributes, no pixels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
class ImageTextEmbedding:
    """A picture or a text in the space of an image-text model; the direction counts."""

    values: tuple[float, ...]
    model: str


@dataclass(frozen=True, slots=True)
class PaletteColor:
    """A colour of a picture, `#rrggbb` in sRGB, and the part of the picture that it covers."""

    hex: str
    share: float


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """How calm a picture is, row by row from the top left: 0 is full of detail, 1 is plain."""

    columns: int
    rows: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Background:
    """What is known of a background.

    Attributes:
        name: its resource name.
        captions: the texts it is found by.
        attributes: what it is filtered by: the values of each key, in the order they were given.
        metadata: the owner's own data, of JSON types.
        update_time: when it was stored, with a time zone.
        image: the picture in the image-text model's space, which becomes a part of the vector. Only an export reads it
            back.
        palette: the picture's main colours.
        free_space: where the picture is calm.
        width: of the picture in pixels; 0 where it is not known, as `height`.
        expire_time: from when on it must not be shown, with a time zone.
        words: what people wrote about it.
    """

    name: BackgroundName
    captions: tuple[str, ...]
    attributes: Mapping[str, tuple[str, ...]]
    metadata: Mapping[str, Any]
    update_time: datetime
    image: ImageTextEmbedding | None = field(default=None, compare=False)
    palette: tuple[PaletteColor, ...] = ()
    free_space: FreeSpace | None = None
    width: int = 0
    height: int = 0
    expire_time: datetime | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """Keeps backgrounds with one of the values `any_of` under `key`; with `exclude`, those with none of them."""

    key: str
    any_of: tuple[str, ...]
    exclude: bool = False

    def __str__(self) -> str:
        return f"{self.key}{'!=' if self.exclude else '='}{','.join(self.any_of)}"


@dataclass(frozen=True, slots=True)
class RangeFilter:
    """Keeps backgrounds whose number `key` lies between the limits, both included; with `exclude`, the others."""

    key: str
    minimum: float | None = None
    maximum: float | None = None
    exclude: bool = False

    def __str__(self) -> str:
        limits = [f"{self.key}>={self.minimum:g}"] if self.minimum is not None else []
        limits += [f"{self.key}<={self.maximum:g}"] if self.maximum is not None else []
        return f"{'not ' if self.exclude else ''}{' and '.join(limits)}"


Condition = Filter | RangeFilter
