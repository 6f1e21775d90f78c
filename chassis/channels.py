"""Channels to other services: retries by gRPC service config, and the request id carried along."""

import json

import grpc
import structlog

from chassis.interceptors import REQUEST_ID_KEY
from chassis.tls import new_channel

MAX_MESSAGE_BYTES = 72 * 1024 * 1024
"""The largest message, either way."""


def open_channel(target: str, service: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """A channel to every address behind `target`, used in turn.

    Calls that end UNAVAILABLE are tried three times within the caller's deadline.

    Args:
        target: such as `127.0.0.1:50051` or `dns:///captioner:50051`.
        service: full name of the gRPC service that the channel is for.
        credentials: for TLS; None for a channel without.
    """
    channel: grpc.aio.Channel = new_channel(grpc.aio, target, credentials, channel_options(service))
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
    """The metadata of a call that is made on behalf of the request in work: its id."""
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return ((REQUEST_ID_KEY, str(request_id)),) if request_id else ()


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
            "loadBalancingConfig": [{"round_robin": {}}],
            "methodConfig": [{"name": [{"service": service}], "retryPolicy": retry_policy}],
        }
    )
