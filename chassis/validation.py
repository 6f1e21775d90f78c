"""Request validation by the rules that stand in the contracts (protovalidate)."""

import protovalidate
from google.protobuf.message import Message
from protovalidate import FieldPathElementPb, Violation

from chassis.errors import FieldViolation, InvalidArgument


def violations(message: Message) -> list[FieldViolation]:
    """Every rule of the contract that `message` breaks, with the path of the field and what to send instead."""
    return [
        FieldViolation(_path(violation), violation.proto.message or "is invalid")
        for violation in protovalidate.collect_violations(message)
    ]


def check(message: Message) -> None:
    """Raises `InvalidArgument` with every violation of `message`, if it has any."""
    found = violations(message)
    if found:
        text = "; ".join(f"{each.field}: {each.description}" for each in found)
        raise InvalidArgument(text, violations=found)


def _path(violation: Violation) -> str:
    field = violation.proto.field
    return ".".join(_element(element) for element in field.elements) if field else "request"


def _element(element: FieldPathElementPb) -> str:
    subscript = element.subscript
    return f"{element.field_name}[{subscript.value}]" if subscript else str(element.field_name)
