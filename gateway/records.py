"""What others keep for us: the ranker, attributes and a record of a background; an export, the record of a picture."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from chassis.errors import InvalidArgument
from gateway.domain import Background, Caption, Degradation, Embedding, Feature, FreeSpace, PaletteColor

_BACKGROUND = TypeAdapter(Background)

MAX_VALUES = 64
RESERVED = frozenset({"keyword", "orientation", "width", "height", "aspect_ratio"})
"""What filters call other things than categories and attributes."""


WITHOUT_RECORD = "import the picture again without its record (backdrop import --recaption)"

_Pixels = Annotated[int, Field(ge=1, le=2**31 - 1)]


class PictureRecord(BaseModel):
    """What was read from a picture and written about it: all of a background but the picture and the shop's own words.

    The version changes with the fields.

    Attributes:
        captions: those that were written, not those that were given.
        search_embedding: the picture as it is compared with texts and with photos.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    # Browsers run what some other types hold.
    content_type: Annotated[str, Field(pattern="^image/[a-z0-9.-]{1,60}$")]
    width: _Pixels
    height: _Pixels
    features: tuple[Feature, ...]
    captions: tuple[Caption, ...]
    palette: tuple[PaletteColor, ...] = ()
    free_space: FreeSpace | None = None
    search_embedding: Embedding | None = None
    degraded: tuple[Degradation, ...] = ()

    def to_bytes(self) -> bytes:
        """The record as an export holds it."""
        return self.model_dump_json().encode()

    @classmethod
    def from_bytes(cls, data: bytes, sha256: str) -> "PictureRecord":
        """What `to_bytes` wrote; raises `InvalidArgument` unless it is a record of the picture of that digest."""
        try:
            record = cls.model_validate_json(data)
        except ValidationError as error:
            raise InvalidArgument.of("record", f"{_complaint(error)}; {WITHOUT_RECORD}") from error
        if record.sha256 != sha256:
            raise InvalidArgument.of("record", f"is of another picture than the one it came with; {WITHOUT_RECORD}")
        return record


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    if where == "version":
        return "was written by another version of Backdrop, which this one cannot read"
    return f"is not what an export writes ({where or 'JSON'}: {first['msg']})"


def to_record(background: Background) -> dict[str, Any]:
    """The JSON object that holds what `from_record` needs; the name and the time are the ranker's."""
    record: dict[str, Any] = _BACKGROUND.dump_python(background, mode="json")
    return {key: value for key, value in record.items() if key not in ("name", "update_time")}


def from_record(name: str, record: dict[str, Any], update_time: datetime) -> Background:
    """The background that `to_record` wrote down."""
    return _BACKGROUND.validate_python({**record, "name": name, "update_time": update_time})


def attributes(background: Background) -> dict[str, tuple[str, ...]]:
    """What filters see: every category that was read, the shop's own, the keywords and the orientation."""
    found = {feature.category: feature.names for feature in background.features if feature.labels}
    found |= background.attributes
    if background.keywords:
        found["keyword"] = background.keywords[:MAX_VALUES]
    found["orientation"] = (background.orientation,)
    return found
