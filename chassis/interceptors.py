"""The one interceptor of every server: request id, trace, validation, error mapping, access log and metrics."""

import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from opentelemetry.trace import Span, SpanKind, StatusCode
from prometheus_client import Counter, Gauge, Histogram

from chassis import tracing, validation
from chassis.errors import (
    STATUS_DETAILS_KEY,
    BackdropError,
    InvalidArgument,
    OutOfMemory,
    is_out_of_memory,
    to_status,
)

REQUEST_ID_KEY = "x-request-id"

log = structlog.get_logger(__name__)

RPC_SECONDS = Histogram("backdrop_rpc_seconds", "Time from request to response of a call.", ["method"])
RPCS = Counter("backdrop_rpcs", "Calls by their method and gRPC status.", ["method", "code"])
IN_FLIGHT = Gauge("backdrop_rpcs_in_flight", "Calls in work.", ["method"])

_NO_MEMORY = "The server is out of memory; try again later."

# The server's own faults, by the conventions of OpenTelemetry; the others are the caller's.
_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:  # generic in the type stubs only
    Context = grpc.aio.ServicerContext


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of Backdrop's own services; health and reflection pass untouched.

    Unary requests are validated here. The messages of a client stream are not, so that one bad item does not end the
    stream: the servicer validates each.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Returns the method's handler, wrapped."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith("/backdrop."):
            return handler
        wrap = wrap_stream if handler.response_streaming else wrap_unary
        wrapped = wrap(method, _behaviour(handler))
        kind = ("stream" if handler.request_streaming else "unary") + (
            "_stream" if handler.response_streaming else "_unary"
        )
        make_handler = getattr(grpc, f"{kind}_rpc_method_handler")
        deserializer = handler.request_deserializer if handler.request_streaming else _deserializer(handler)
        return make_handler(wrapped, deserializer, handler.response_serializer)


def _deserializer(handler: Any) -> Callable[[bytes], Any]:
    """The handler's, whose errors go through the call as ours do: gRPC would answer them UNKNOWN, without a word."""
    deserialize = handler.request_deserializer

    def read(message: bytes) -> Any:
        try:
            return deserialize(message)
        except MemoryError:
            return OutOfMemory(_NO_MEMORY, retry_after_s=1)
        except DecodeError:
            return InvalidArgument(
                "The request is no message of this method: look at the contract, or at the client's."
            )

    return read


def _behaviour(handler: Any) -> Callable[..., Any]:
    """The one of the four kinds of behaviour that a handler has."""
    kinds = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    behaviour: Callable[..., Any] = next(each for each in kinds if each)
    return behaviour


def wrap_unary(method: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """`behaviour` with all that surrounds a call of the method: id, validation, error mapping, log and metrics."""

    async def call(request: Any, context: Context) -> Any:
        async with _served(method, context):
            _validate(request)
            return await behaviour(request, context)

    return call


def wrap_stream(method: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """As `wrap_unary`, for a method that answers by a stream."""

    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        async with _served(method, context):
            _validate(request)
            async for response in behaviour(request, context):
                yield response

    return call


def _validate(request: Any) -> None:
    if isinstance(request, BackdropError):
        raise request
    if isinstance(request, Message):
        validation.check(request)


@asynccontextmanager
async def _served(method: str, context: Context) -> AsyncIterator[None]:
    """Surrounds one call: binds its id to the logs, maps its error, and records how it went."""
    metadata = tuple(context.invocation_metadata() or ())
    request_id = request_id_of(metadata)
    context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
    started = time.perf_counter()
    code = grpc.StatusCode.CANCELLED
    facts: dict[str, str] = {}
    with (
        structlog.contextvars.bound_contextvars(request_id=request_id, method=method),
        IN_FLIGHT.labels(method).track_inprogress(),
        tracing.span(
            method[1:],
            {"rpc.method": method[1:], "backdrop.request_id": request_id},
            kind=SpanKind.SERVER,
            context=tracing.context_of(metadata),
            # How it ended is told by `_tell`: an abort may be the caller's fault.
            note_errors=False,
        ) as span,
    ):
        try:
            yield
            code = grpc.StatusCode.OK
        except BackdropError as error:
            code = error.code
            facts = {"reason": error.reason, "error": error.message}
            await _abort(context, request_id, code, to_status(error))
        except grpc.aio.AbortError:
            code = grpc.StatusCode.UNKNOWN
            raise
        except Exception as error:
            unexpected = _unexpected(request_id, error)
            code = unexpected.code
            await _abort(context, request_id, code, to_status(unexpected))
        finally:
            _tell(span, code, facts)
            record(method, code, time.perf_counter() - started, facts)


def _tell(span: Span, code: grpc.StatusCode, facts: dict[str, str]) -> None:
    """Notes in the call's span how it ended; that the call is aborted is no fault by itself."""
    span.set_attribute("rpc.response.status_code", code.name)
    if "reason" in facts:
        span.set_attribute("error.type", facts["reason"])
    if code in _FAULTS:
        span.set_status(StatusCode.ERROR, code.name)


def _unexpected(request_id: str, error: Exception) -> BackdropError:
    if is_out_of_memory(error):
        # There may be none for a trace either.
        with suppress(MemoryError):
            log.error("out_of_memory")
        return OutOfMemory(_NO_MEMORY, retry_after_s=1)
    log.exception("call_crashed")
    return BackdropError(f"An unexpected error happened; the server's log has it under request id {request_id}.")


async def _abort(context: Context, request_id: str, code: grpc.StatusCode, status: status_pb2.Status) -> None:
    metadata = ((REQUEST_ID_KEY, request_id), (STATUS_DETAILS_KEY, status.SerializeToString()))
    await context.abort(code, status.message, metadata)


def record(method: str, code: grpc.StatusCode, seconds: float, facts: dict[str, str]) -> None:
    """Counts and logs a call that has ended."""
    RPC_SECONDS.labels(method).observe(seconds, tracing.exemplar())
    RPCS.labels(method, code.name).inc()
    log.info("call", code=code.name, duration_ms=round(seconds * 1000, 1), **facts)


def new_request_id() -> str:
    """An id that no other request has."""
    return uuid.uuid4().hex


def request_id_of(metadata: Iterable[tuple[str, Any]]) -> str:
    """The caller's id where it is fit for a log line, else a new one."""
    for key, value in metadata:
        if key == REQUEST_ID_KEY and re.fullmatch(r"[\w.:-]{1,128}", str(value)):
            return str(value)
    return new_request_id()
