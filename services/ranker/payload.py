"""How a background lies in a Qdrant point: the same in the embedded engine and on a server.

Qdrant indexes payload fields that are known beforehand, but owners choose their own attribute keys. So each value of an
attribute is also kept as a tag `key=value` in one indexed field, and a filter on any key is a match on tags. Keys hold
no `=`, so a tag has one reading.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from services.ranker.background import Background, BackgroundName, Filter

LIBRARY_FIELD = "library"
TAGS_FIELD = "tags"
VECTOR_NAME = "captions"


def point_id(name: BackgroundName) -> UUID:
    """The id of a background's point: the same name always has the same one."""
    return uuid5(NAMESPACE_URL, str(name))


def to_payload(background: Background) -> dict[str, Any]:
    """What is kept of a background beside its vectors."""
    return {
        LIBRARY_FIELD: background.name.library,
        "background": background.name.background,
        TAGS_FIELD: [_tag(key, value) for key, values in background.attributes.items() for value in values],
        "captions": list(background.captions),
        "attributes": [{"key": key, "values": list(values)} for key, values in background.attributes.items()],
        # A string, so that the engine need not understand it, and gives back what it got.
        "metadata": json.dumps(background.metadata),
        "update_time": background.update_time.isoformat(),
    }


def from_payload(payload: Mapping[str, Any]) -> Background:
    """The background that `to_payload` wrote."""
    return Background(
        name=BackgroundName(payload[LIBRARY_FIELD], payload["background"]),
        captions=tuple(payload["captions"]),
        attributes={each["key"]: tuple(each["values"]) for each in payload["attributes"]},
        metadata=json.loads(payload["metadata"]),
        update_time=datetime.fromisoformat(payload["update_time"]),
    )


def wanted_tags(filters: Sequence[Filter]) -> list[list[str]]:
    """For each filter that includes: the tags of which a background must have one."""
    return [_tags(each) for each in filters if not each.exclude]


def unwanted_tags(filters: Sequence[Filter]) -> list[list[str]]:
    """For each filter that excludes: the tags of which a background must have none."""
    return [_tags(each) for each in filters if each.exclude]


def _tags(condition: Filter) -> list[str]:
    return [_tag(condition.key, value) for value in condition.any_of]


def _tag(key: str, value: str) -> str:
    return f"{key}={value}"
