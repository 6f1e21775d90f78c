"""Conditions as filters of the gateway's contract and of the ranker's, which are alike, and back."""

from collections.abc import Iterable
from typing import Any

from gateway.domain import Condition, Filter, RangeFilter


def to_conditions(messages: Iterable[Any]) -> tuple[Condition, ...]:
    """The conditions that filters of either contract say."""
    return tuple(_to_condition(each) for each in messages)


def from_conditions(conditions: Iterable[Condition], contract: Any) -> list[Any]:
    """The filters that `to_conditions` reads as the same conditions; `contract` is the module of their messages."""
    return [_from_condition(each, contract) for each in conditions]


def _to_condition(message: Any) -> Condition:
    limits = message.range
    if not message.HasField("range"):
        return Filter(message.key, tuple(message.any_of), message.exclude)
    return RangeFilter(
        message.key,
        limits.min if limits.HasField("min") else None,
        limits.max if limits.HasField("max") else None,
        message.exclude,
    )


def _from_condition(condition: Condition, contract: Any) -> Any:
    if isinstance(condition, Filter):
        return contract.Filter(key=condition.key, any_of=condition.any_of, exclude=condition.exclude)
    limits = contract.Range(min=condition.minimum, max=condition.maximum)
    return contract.Filter(key=condition.key, range=limits, exclude=condition.exclude)
