"""Conditions as the contract's filters, and back."""

from collections.abc import Iterable, Sequence

from backdrop.ranker.v1 import ranker_pb2
from chassis.errors import InvalidArgument
from services.ranker.background import Condition, Filter, RangeFilter
from services.ranker.payload import NUMBER_FIELDS


def to_conditions(field: str, messages: Iterable[ranker_pb2.Filter]) -> tuple[Condition, ...]:
    """The conditions in the list `field` of a request; raises `InvalidArgument` for a range of what is no number."""
    return tuple(_to_condition(f"{field}[{number}]", each) for number, each in enumerate(messages))


def from_conditions(conditions: Sequence[Condition]) -> list[ranker_pb2.Filter]:
    """The filters that `to_conditions` reads as the same conditions."""
    return [_from_condition(each) for each in conditions]


def _to_condition(field: str, message: ranker_pb2.Filter) -> Condition:
    if not message.HasField("range"):
        return Filter(message.key, tuple(message.any_of), message.exclude)
    if message.key not in NUMBER_FIELDS:
        raise InvalidArgument.of(f"{field}.key", f"a range needs one of {', '.join(NUMBER_FIELDS)}")
    limits = message.range
    return RangeFilter(
        message.key,
        limits.min if limits.HasField("min") else None,
        limits.max if limits.HasField("max") else None,
        message.exclude,
    )


def _from_condition(condition: Condition) -> ranker_pb2.Filter:
    if isinstance(condition, Filter):
        return ranker_pb2.Filter(key=condition.key, any_of=condition.any_of, exclude=condition.exclude)
    limits = ranker_pb2.Range(min=condition.minimum, max=condition.maximum)
    return ranker_pb2.Filter(key=condition.key, range=limits, exclude=condition.exclude)
