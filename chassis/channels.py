"""Channels to other services: retries by gRPC service config; the request id and the trace are carried along."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog
from opentelemetry.trace import SpanKind, StatusCode

from chassis import tracing
from chassis.interceptors import REQUEST_ID_KEY
from chassis.tls import new_channel

MAX_MESSAGE_BYTES = 72 * 1024 * 1024
"""The largest message, either way."""

# Whether a peer hangs, or cannot be reached though its address stands, is found out within five seconds of a call. A
# stopped process still accepts connections; that nothing answers on them shows by the ping, not by TCP. Servers other
# than ours may take so many pings for an attack (`chassis.server` allows them). A live server on one saturated core has
# been seen to miss two seconds.
_LIVENESS = [
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.http2.ping_timeout_ms", 4000),
    ("grpc.http2.max_pings_without_data", 0),
]

# One address whose calls hardly ever succeed, by their deadline most of all, gets none for a while; never all of them.
# gRPC takes a caller's own mistakes (INVALID_ARGUMENT, NOT_FOUND) and refusals (RESOURCE_EXHAUSTED) for
# failures, too. So it takes many calls, and a tenth that succeed clear an address: among other callers, mistakes do
# not take one away, and neither does more load than there is room for.
_OUTLIERS = {
    "interval": "10s",
    "baseEjectionTime": "10s",
    "maxEjectionTime": "60s",
    "maxEjectionPercent": 50,
    "failurePercentageEjection": {"threshold": 90, "minimumHosts": 2, "requestVolume": 10},
    "childPolicy": [{"round_robin": {}}],
}


def open_channel(target: str, service: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """A channel to every address behind `target`, used in turn, as one service opens it to another.

    Calls that end UNAVAILABLE are tried three times within the caller's deadline, each time at the next address. One
    that is found hung is not called until it answers again, and one that fails again and again is left alone for some
    seconds, as long as there is another.

    Args:
        target: such as `127.0.0.1:50051`, `ipv4:10.0.0.1:50051,10.0.0.2:50051` or `dns:///captioner:50051`.
        service: full name of the gRPC service that the channel is for.
        credentials: for TLS; None for a channel without.
    """
    interceptors = [_TracedCalls()] if tracing.is_on() else []
    options = [*channel_options(service), *_LIVENESS]
    channel: grpc.aio.Channel = new_channel(grpc.aio, target, credentials, options, interceptors=interceptors)
    return channel


def channel_options(service: str) -> list[tuple[str, str | int]]:
    """What makes a channel as `open_channel` says, for channels of other kinds."""
    return [
        ("grpc.service_config", _service_config(service)),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # Only what is kept can be sent again; by default that is 256 KiB, less than a photo.
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
        # A restarted peer is found again within two seconds.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]


def call_metadata() -> tuple[tuple[str, str], ...]:
    """The metadata of a call that is made on behalf of the request in work: its id, and its trace."""
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    ours = ((REQUEST_ID_KEY, str(request_id)),) if request_id else ()
    return (*ours, *tracing.trace_metadata().items())


class _TracedCalls(grpc.aio.UnaryUnaryClientInterceptor):
    """Gives each call of one request and one response a span. Streams have none, but the callee's is inside ours."""

    async def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Awaitable[Any]], client_call_details: Any, request: Any
    ) -> Any:
        """Makes the call inside its span, and tells the callee of it."""
        method = _text(client_call_details.method)
        # A look at health is no part of a trace.
        if not method.startswith("/backdrop."):
            return await continuation(client_call_details, request)
        with tracing.span(method[1:], {"rpc.method": method[1:]}, kind=SpanKind.CLIENT) as current:
            ours = tracing.trace_metadata()
            kept = [each for each in client_call_details.metadata or () if each[0] not in ours]
            details = client_call_details._replace(metadata=grpc.aio.Metadata(*kept, *ours.items()))
            call = await continuation(details, request)
            try:
                await call
            except grpc.aio.AioRpcError as error:
                current.set_status(StatusCode.ERROR, error.code().name)
            current.set_attribute("rpc.response.status_code", (await call.code()).name)
            return call


def _text(method: str | bytes) -> str:
    return method.decode() if isinstance(method, bytes) else method


def _service_config(service: str) -> str:
    retry_policy = {
        "maxAttempts": 3,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps(
        {
            "loadBalancingConfig": [{"outlier_detection_experimental": _OUTLIERS}],
            "methodConfig": [{"name": [{"service": service}], "retryPolicy": retry_policy}],
        }
    )
