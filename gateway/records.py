"""A background as the ranker keeps it for us: attributes to filter by, and a record of everything else."""

from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from gateway.domain import Background

_BACKGROUND = TypeAdapter(Background)

MAX_VALUES = 64
RESERVED = frozenset({"keyword", "orientation", "width", "height", "aspect_ratio"})
"""What filters call other things than categories and attributes."""


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
