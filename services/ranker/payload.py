"""How a background lies in a Qdrant point: the same in the embedded engine and on a server.

Qdrant indexes payload fields that are known beforehand, but owners choose their own attribute keys. So each value of an
attribute is also kept as a tag `key=value` in one indexed field, and a filter on any key is a match on tags. Keys hold
no `=`, so a tag has one reading.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from services.ranker.background import Background, BackgroundName, Filter, FreeSpace, PaletteColor

LIBRARY_FIELD = "library"
TAGS_FIELD = "tags"
KEYS_FIELD = "keys"
EXPIRE_FIELD = "expires_s"
NUMBER_FIELDS = ("width", "height", "aspect_ratio")

DENSE_NAME = "signals"
SPARSE_NAME = "keywords"


def point_id(name: BackgroundName) -> UUID:
    """The id of a background's point: the same name always has the same one."""
    return uuid5(NAMESPACE_URL, str(name))


def to_payload(background: Background) -> dict[str, Any]:
    """What is kept of a background beside its vectors."""
    return {
        LIBRARY_FIELD: background.name.library,
        "background": background.name.background,
        TAGS_FIELD: [_tag(key, value) for key, values in background.attributes.items() for value in values],
        KEYS_FIELD: list(background.attributes),
        **_numbers(background),
        # A string, so that the engine need not understand it, and gives back what it got.
        "record": json.dumps(_record(background)),
    }


def from_payload(payload: Mapping[str, Any]) -> Background:
    """The background that `to_payload` wrote; without its image embedding."""
    record = json.loads(payload["record"])
    space = record.get("free_space")
    expires = record.get("expire_time")
    return Background(
        name=BackgroundName(payload[LIBRARY_FIELD], payload["background"]),
        captions=tuple(record["captions"]),
        attributes={key: tuple(values) for key, values in record["attributes"]},
        metadata=record["metadata"],
        update_time=datetime.fromisoformat(record["update_time"]),
        palette=tuple(PaletteColor(*each) for each in record.get("palette", ())),
        free_space=FreeSpace(space["columns"], space["rows"], tuple(space["values"])) if space else None,
        width=record.get("width", 0),
        height=record.get("height", 0),
        expire_time=datetime.fromisoformat(expires) if expires else None,
        words=record.get("words", ""),
    )


def wanted_tags(condition: Filter) -> list[str]:
    """The tags of which a background must have one, or, where the filter excludes, none."""
    return [_tag(condition.key, value) for value in condition.any_of]


def _record(background: Background) -> dict[str, Any]:
    record = {
        "captions": background.captions,
        "attributes": list(background.attributes.items()),
        "metadata": background.metadata,
        "update_time": background.update_time.isoformat(),
        "palette": [(each.hex, each.share) for each in background.palette],
        "free_space": asdict(background.free_space) if background.free_space else None,
        "width": background.width,
        "height": background.height,
        "words": background.words,
        "expire_time": background.expire_time.isoformat() if background.expire_time else None,
    }
    return {key: value for key, value in record.items() if value or key in ("attributes", "metadata")}


def _numbers(background: Background) -> dict[str, float]:
    numbers: dict[str, float] = {}
    if background.width and background.height:
        numbers |= {
            "width": background.width,
            "height": background.height,
            "aspect_ratio": background.width / background.height,
        }
    if background.expire_time:
        numbers[EXPIRE_FIELD] = background.expire_time.timestamp()
    return numbers


def _tag(key: str, value: str) -> str:
    return f"{key}={value}"
