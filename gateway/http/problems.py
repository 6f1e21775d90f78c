"""Errors as HTTP tells them: problem details (RFC 9457) with the gRPC code, the reason and the fields at fault."""

import math
from http import HTTPStatus
from typing import Any

from google.rpc import code_pb2
from google.rpc.status_pb2 import Status
from starlette.responses import JSONResponse

from chassis.errors import (
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    reason_of,
    retry_after_s_of,
    violations_of,
)
from chassis.interceptors import REQUEST_ID_KEY

MEDIA_TYPE = "application/problem+json"


class BodyTooLarge(ResourceExhausted):
    """A body has more bytes than the gateway takes."""

    reason = "BODY_TOO_LARGE"


class UnsupportedMediaType(InvalidArgument):
    """A body is neither JSON nor multipart/form-data."""

    reason = "UNSUPPORTED_MEDIA_TYPE"


class RouteNotFound(NotFound):
    """There is no such path."""

    reason = "ROUTE_NOT_FOUND"


class MethodNotAllowed(InvalidArgument):
    """The path is there, but not for this method."""

    reason = "METHOD_NOT_ALLOWED"


CLIENT_CLOSED_REQUEST = 499
# After google/rpc/code.proto.
STATUS_OF_CODE = {
    code_pb2.CANCELLED: CLIENT_CLOSED_REQUEST,
    code_pb2.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    code_pb2.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    code_pb2.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    code_pb2.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    code_pb2.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    code_pb2.NOT_FOUND: HTTPStatus.NOT_FOUND,
    code_pb2.ABORTED: HTTPStatus.CONFLICT,
    code_pb2.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    code_pb2.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    code_pb2.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    code_pb2.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    code_pb2.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}
# What HTTP has a status of its own for.
_STATUS_OF_REASON = {
    BodyTooLarge.reason: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedMediaType.reason: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    MethodNotAllowed.reason: HTTPStatus.METHOD_NOT_ALLOWED,
}


def to_problem(status: Status, request_id: str, prefix: str = "") -> dict[str, Any]:
    """The problem that a call's status is.

    Args:
        status: how the call ended.
        request_id: of the call.
        prefix: of the fields of the call's message that are not named so over HTTP.
    """
    reason = reason_of(status)
    http_status = _STATUS_OF_REASON.get(reason, STATUS_OF_CODE.get(status.code, HTTPStatus.INTERNAL_SERVER_ERROR))
    problem: dict[str, Any] = {
        "type": f"urn:backdrop:error:{reason}",
        "title": _title(int(http_status)),
        "status": int(http_status),
        "detail": status.message,
        "instance": f"urn:backdrop:request:{request_id}",
        "code": code_pb2.Code.Name(status.code),
        "reason": reason,
    }
    if violations := violations_of(status):
        named = [(each.field.removeprefix(prefix), each.description) for each in violations]
        problem["detail"] = "; ".join(f"{field}: {description}" for field, description in named)
        problem["violations"] = [{"field": field, "description": description} for field, description in named]
    return problem


def problem_response(status: Status, request_id: str, prefix: str = "") -> JSONResponse:
    """The answer to a request that failed; see `to_problem`."""
    problem = to_problem(status, request_id, prefix)
    headers = {REQUEST_ID_KEY: request_id}
    if (retry_after_s := retry_after_s_of(status)) is not None:
        headers["Retry-After"] = str(math.ceil(retry_after_s))
    if problem["status"] == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(problem, problem["status"], headers, MEDIA_TYPE)


def _title(http_status: int) -> str:
    return "Client Closed Request" if http_status == CLIENT_CLOSED_REQUEST else HTTPStatus(http_status).phrase
