"""Errors that cross the wire: each class names its gRPC status and a stable reason.

Domain code raises these; `chassis.interceptors` turns them into a `google.rpc.Status` with `ErrorInfo`, and, where
they apply, `BadRequest` and `RetryInfo`. A service subclasses them to give an error a reason of its own.
"""

import copyreg
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

ERROR_DOMAIN = "backdrop"
STATUS_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is wrong, and what to do about it."""

    field: str
    description: str


class BackdropError(Exception):
    """Base of every error that a client may see.

    Args:
        message: a whole sentence for the caller: what is wrong and what to do. Never a secret or a stack trace.
        violations: the request's fields that are at fault.
        retry_after_s: when a retry may succeed; sent as `google.rpc.RetryInfo`.
        metadata: further facts for programs; sent in `google.rpc.ErrorInfo`.
    """

    code = grpc.StatusCode.INTERNAL
    reason = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s
        self.metadata = dict(metadata or {})

    def __reduce__(self) -> tuple[Any, ...]:
        # A subclass may make its message itself; what travels between processes is what was made.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class InvalidArgument(BackdropError):
    """The request is wrong and will stay wrong: fix the field that is named."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    @classmethod
    def of(cls, field: str, description: str) -> "InvalidArgument":
        """The common case of one bad field; `description` says what is wrong and what to send instead."""
        return cls(f"{field}: {description}", violations=[FieldViolation(field, description)])


class NotFound(BackdropError):
    """The resource does not exist."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class Unauthenticated(BackdropError):
    """The caller did not say who it is, or not so that it can be believed."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class PermissionDenied(BackdropError):
    """The caller may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class FailedPrecondition(BackdropError):
    """The request is right, but the system is not in a state to do it."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class ResourceExhausted(BackdropError):
    """A quota or queue is full: slow down and try again."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "RESOURCE_EXHAUSTED"


class OutOfMemory(ResourceExhausted):
    """There is no memory for the request."""

    reason = "OUT_OF_MEMORY"


class Unavailable(BackdropError):
    """Something that this service needs cannot be reached: try again later."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"


class DeadlineExceeded(BackdropError):
    """The caller's deadline passed before the work was done."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


def is_out_of_memory(error: BaseException) -> bool:
    """Python's own error, or what is left of C++'s in the text of another one (OpenCV's)."""
    return isinstance(error, MemoryError) or "std::bad_alloc" in str(error) or "Insufficient memory" in str(error)


def to_status(error: BackdropError) -> status_pb2.Status:
    """The `google.rpc.Status` that a client receives for `error`."""
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=error.metadata)
    )
    if error.violations:
        bad_request = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad_request.field_violations.add(field=violation.field, description=violation.description)
        status.details.add().Pack(bad_request)
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after_s * 1000))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def status_of(error: grpc.aio.AioRpcError | grpc.Call) -> status_pb2.Status:
    """The status that a failed call carries; one without details is made from its code and text."""
    metadata: Any = error.trailing_metadata()
    for key, value in metadata or ():
        if key == STATUS_DETAILS_KEY:
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(code=error.code().value[0], message=error.details() or "")


def reason_of(status: status_pb2.Status) -> str:
    """The stable reason in `status`, or its code's name where the sender gave none (gRPC's own errors)."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return str(info.reason)
    return str(code_pb2.Code.Name(status.code))


def violations_of(status: status_pb2.Status) -> list[FieldViolation]:
    """The fields that `status` blames."""
    bad_request = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Unpack(bad_request):
            return [FieldViolation(each.field, each.description) for each in bad_request.field_violations]
    return []


def from_rpc(error: grpc.aio.AioRpcError, peer: str) -> BackdropError:
    """What a failed call to `peer` means to our own caller: the same code, reason, fields and advice.

    A peer that cannot be reached becomes `Unavailable` with the reason `<PEER>_UNAVAILABLE`; one that is too slow,
    `DeadlineExceeded` with `<PEER>_TIMEOUT`.
    """
    status = status_of(error)
    if not status.details and error.code() in _TRANSPORT_ERRORS:
        error_class, suffix, sentence = _TRANSPORT_ERRORS[error.code()]
        mapped = error_class(f"The {peer} {sentence}", retry_after_s=1)
        mapped.reason = f"{peer.upper()}_{suffix}"
        return mapped
    return from_status(status)


def from_status(status: status_pb2.Status) -> BackdropError:
    """The error that `to_status` made `status` of, as far as it matters to our own caller."""
    mapped = _CLASS_OF_CODE.get(status.code, BackdropError)(
        status.message, violations=violations_of(status), retry_after_s=retry_after_s_of(status)
    )
    mapped.reason = reason_of(status)
    return mapped


def retry_after_s_of(status: status_pb2.Status) -> float | None:
    """When `status` says that a retry may succeed, in seconds from now."""
    retry_info = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(retry_info):
            return float(retry_info.retry_delay.ToMilliseconds()) / 1000
    return None


_CLASS_OF_CODE: dict[int, type[BackdropError]] = {
    each.code.value[0]: each
    for each in (InvalidArgument, NotFound, FailedPrecondition, ResourceExhausted, Unavailable, DeadlineExceeded)
}
_TRANSPORT_ERRORS: dict[grpc.StatusCode, tuple[type[BackdropError], str, str]] = {
    grpc.StatusCode.UNAVAILABLE: (Unavailable, "UNAVAILABLE", "cannot be reached; try again in a moment."),
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        DeadlineExceeded,
        "TIMEOUT",
        "did not answer in time; allow a longer deadline.",
    ),
}
