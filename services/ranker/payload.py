"""How a background lies in a Qdrant point: the same in the embedded engine and on a server.

Qdrant indexes payload fields that are known beforehand, but owners choose their own attribute keys. So each value of an
attribute is also kept as a tag `key=value` in one indexed field, and a filter on any key is a match on tags. Keys hold
no `=`, so a tag has one reading.

Feedback on a library is of a tenant of its own, whose name no library can have, so no search for backgrounds meets it.
So are its rules.
"""

import base64
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np

from services.ranker.background import (
    Background,
    BackgroundName,
    Condition,
    Filter,
    FreeSpace,
    PaletteColor,
    RangeFilter,
)
from services.ranker.feedback import Feedback, IndexedFeedback, SimilarFeedback
from services.ranker.rules import IndexedRules
from services.ranker.signals import Vectors
from services.ranker.vector_store import Indexed, IndexedBackground, Name, Search

LIBRARY_FIELD = "library"
TAGS_FIELD = "tags"
KEYS_FIELD = "keys"
EXPIRE_FIELD = "expires_s"
NUMBER_FIELDS = ("width", "height", "aspect_ratio")

DENSE_NAME = "signals"
SPARSE_NAME = "keywords"

_FEEDBACK_TENANT = "feedback/"
_RULES_TENANT = "rules/"


def point_id(name: Name) -> UUID:
    """The id of a point: the same name always has the same one."""
    return uuid5(NAMESPACE_URL, str(name))


def feedback_tenant(library: str) -> str:
    """The tenant of a library's feedback."""
    return _FEEDBACK_TENANT + library


def words_of(item: Indexed) -> str:
    """The text whose words an item is found by."""
    return item.background.words if isinstance(item, IndexedBackground) else ""


def to_payload(item: Indexed) -> dict[str, Any]:
    """What is kept of an item beside its vectors."""
    if isinstance(item, IndexedRules):
        return _of_rules(item)
    return _of_background(item.background) if isinstance(item, IndexedBackground) else _of_feedback(item)


def to_indexed(payload: Mapping[str, Any], vector: Vectors) -> Indexed:
    """The item that `to_payload` and its vector, (dimension,), were of."""
    if payload[LIBRARY_FIELD].startswith(_FEEDBACK_TENANT):
        return IndexedFeedback(to_feedback(payload), vector, _to_direction(payload))
    if payload[LIBRARY_FIELD].startswith(_RULES_TENANT):
        return _to_rules(payload, vector)
    return IndexedBackground(from_payload(payload), vector)


def to_similar(payload: Mapping[str, Any], similarity: float) -> SimilarFeedback:
    """Feedback that was found by its product's similarity."""
    return SimilarFeedback(to_feedback(payload), _to_direction(payload), similarity)


def to_feedback(payload: Mapping[str, Any]) -> Feedback:
    """The feedback that `to_payload` wrote."""
    record = json.loads(payload["record"])
    return Feedback(
        library=payload[LIBRARY_FIELD].removeprefix(_FEEDBACK_TENANT),
        recommendation_id=record["recommendation_id"],
        chosen=tuple(record["chosen"]),
        rejected=tuple(record["rejected"]),
        update_time=datetime.fromisoformat(record["update_time"]),
    )


def to_rules(payload: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The conditions of the rules that `to_payload` wrote."""
    return tuple(_to_condition(each) for each in json.loads(payload["record"])["conditions"])


def _of_feedback(item: IndexedFeedback) -> dict[str, Any]:
    feedback = item.feedback
    record = {
        "recommendation_id": feedback.recommendation_id,
        "chosen": feedback.chosen,
        "rejected": feedback.rejected,
        "update_time": feedback.update_time.isoformat(),
    }
    return {
        LIBRARY_FIELD: feedback_tenant(feedback.library),
        "record": json.dumps(record),
        # Half precision, as vectors have it.
        "direction": base64.b64encode(item.direction.astype("<f2").tobytes()).decode(),
    }


def _to_direction(payload: Mapping[str, Any]) -> Vectors:
    return np.frombuffer(base64.b64decode(payload["direction"]), dtype="<f2").astype(np.float32)


def _of_rules(item: IndexedRules) -> dict[str, Any]:
    record = {
        "conditions": [asdict(each) for each in item.conditions],
        "update_time": item.update_time.isoformat(),
    }
    return {LIBRARY_FIELD: _RULES_TENANT + item.library, "record": json.dumps(record)}


def _to_rules(payload: Mapping[str, Any], vector: Vectors) -> IndexedRules:
    record = json.loads(payload["record"])
    return IndexedRules(
        library=payload[LIBRARY_FIELD].removeprefix(_RULES_TENANT),
        conditions=to_rules(payload),
        update_time=datetime.fromisoformat(record["update_time"]),
        vector=vector,
    )


def _to_condition(record: Mapping[str, Any]) -> Condition:
    if "any_of" in record:
        return Filter(record["key"], tuple(record["any_of"]), record["exclude"])
    return RangeFilter(**record)


def _of_background(background: Background) -> dict[str, Any]:
    return {
        LIBRARY_FIELD: background.name.library,
        TAGS_FIELD: [_tag(key, value) for key, values in background.attributes.items() for value in values],
        KEYS_FIELD: list(background.attributes),
        **_numbers(background),
        # A string, so that the engine need not understand it, and gives back what it got.
        "record": json.dumps(_record(background)),
    }


def from_payload(payload: Mapping[str, Any]) -> Background:
    """The background that `to_payload` wrote, without its image embedding."""
    record = json.loads(payload["record"])
    space = record.get("free_space")
    expires = record.get("expire_time")
    return Background(
        name=BackgroundName(payload[LIBRARY_FIELD], record["background"]),
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


def points_by_nudge(search: Search) -> dict[float, set[UUID | int | str]]:
    """The points of the backgrounds that a search nudges, together where they are nudged alike."""
    points: dict[float, set[UUID | int | str]] = defaultdict(set)
    for background, nudge in search.nudges.items():
        points[round(nudge, 6)].add(str(point_id(BackgroundName(search.library, background))))
    return dict(points)


def _record(background: Background) -> dict[str, Any]:
    record = {
        "background": background.name.background,
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
