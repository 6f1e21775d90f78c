import pytest
from google.rpc import code_pb2

from chassis.errors import (
    BackdropError,
    FieldViolation,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    reason_of,
    retry_after_s_of,
    to_status,
    violations_of,
)


class QueueFull(ResourceExhausted):
    reason = "QUEUE_FULL"


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (BackdropError("broken"), code_pb2.INTERNAL, "INTERNAL"),
        (NotFound("no such thing"), code_pb2.NOT_FOUND, "NOT_FOUND"),
        (QueueFull("slow down"), code_pb2.RESOURCE_EXHAUSTED, "QUEUE_FULL"),
    ],
)
def test_an_error_carries_its_code_message_and_reason(error: BackdropError, code: int, reason: str) -> None:
    status = to_status(error)
    assert (status.code, status.message, reason_of(status)) == (code, error.message, reason)


def test_a_bad_field_is_named_with_the_remedy() -> None:
    status = to_status(InvalidArgument.of("image", "is empty; send a photo"))
    assert status.message == "image: is empty; send a photo"
    assert violations_of(status) == [FieldViolation("image", "is empty; send a photo")]


def test_overload_says_when_to_come_back() -> None:
    assert retry_after_s_of(to_status(QueueFull("slow down", retry_after_s=1.5))) == 1.5
    assert retry_after_s_of(to_status(QueueFull("slow down"))) is None
