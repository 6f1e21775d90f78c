"""Calls to the gateway, and their errors as a person wants to read them."""

import os
import re
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import typer

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc
from chassis.channels import MAX_MESSAGE_BYTES
from chassis.errors import reason_of, status_of, violations_of
from chassis.tls import CertificateUnusable, channel_credentials, new_channel
from gateway.cli.console import fail

KEY_VARIABLE = "BACKDROP_API_KEY"
CA_VARIABLE = "BACKDROP_CA_FILE"
MAX_IMAGE_BYTES = 32 * 1024 * 1024
"""The contract's limit, checked before a photo is sent."""


@contextmanager
def connect(target: str) -> Iterator[gateway_pb2_grpc.GatewayServiceStub]:
    """A stub of the gateway at `target` for the time of the `with`; over TLS where the environment names a CA."""
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    with _open(target, options) as channel:
        yield gateway_pb2_grpc.GatewayServiceStub(grpc.intercept_channel(channel, _Key()))


def _open(target: str, options: list[tuple[str, int]]) -> grpc.Channel:
    ca = os.environ.get(CA_VARIABLE)
    try:
        credentials = channel_credentials(Path(ca) if ca else None, None, None)
    except CertificateUnusable as error:
        fail(f"{CA_VARIABLE}: {error.message}")
    channel: grpc.Channel = new_channel(grpc, target, credentials, options)
    return channel


class _Key(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor):
    """Sends the API key of the environment with each call."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(_with_key(details), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(_with_key(details), request)

    def intercept_stream_stream(self, continuation: Any, details: Any, request_iterator: Any) -> Any:
        return continuation(_with_key(details), request_iterator)


def _with_key(details: Any) -> Any:
    key = os.environ.get(KEY_VARIABLE)
    metadata = [*(details.metadata or ()), *([("x-api-key", key)] if key else [])]
    return _CallDetails(details.method, details.timeout, metadata, details.credentials, details.wait_for_ready, None)


class _CallDetails(
    namedtuple("_CallDetails", "method timeout metadata credentials wait_for_ready compression"),
    grpc.ClientCallDetails,
):
    """What gRPC wants to know of a call."""


@contextmanager
def explained_errors(target: str) -> Iterator[None]:
    """Turns a failed call into an error message with what to do, and exit code 1."""
    try:
        yield
    except grpc.RpcError as error:
        if not isinstance(error, grpc.Call):
            raise
        _explain(error, target)
    except UnreadableImage as error:
        fail(f"image: {error}")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _explain(error: grpc.Call, target: str) -> None:
    status = status_of(error)
    reason = reason_of(status)
    violations = violations_of(status)
    if violations:
        first, *rest = (f"{each.field}: {each.description}" for each in violations)
        fail(first, *rest)
    if reason == "UNAVAILABLE":
        fail(
            f"No gateway answers at {target}.",
            "Start one with: backdrop up",
            "Or name another: --target HOST:PORT",
            f"Where it speaks TLS, set {CA_VARIABLE} to the file of its CA.",
        )
    if reason in ("API_KEY_MISSING", "API_KEY_UNKNOWN"):
        fail(status.message.partition(":")[0].rstrip(".") + ".", f"Set {KEY_VARIABLE} to the key that you were given.")
    if reason == "LIBRARY_NOT_FOUND":
        fail(status.message, "Fill it with: backdrop import DIRECTORY --library NAME")
    if reason == "DEADLINE_EXCEEDED":
        fail("No answer in time.", "Allow more with --timeout, or look at the servers' logs.")
    fail(f"{status.message} ({reason})")


class UnreadableImage(Exception):
    """A file that cannot be read, or that the gateway would refuse for its size."""


def read_image(path: Path) -> bytes:
    """The file's bytes; raises `UnreadableImage`."""
    try:
        size = path.stat().st_size
        if size > MAX_IMAGE_BYTES:
            raise UnreadableImage(f"{path} has {size / 2**20:.0f} MiB, and 32 MiB are allowed; send a smaller one.")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"Cannot read {path}: {error.strerror}.") from error


def all_backgrounds(stub: gateway_pb2_grpc.GatewayServiceStub, library: str) -> Iterator[pb.Background]:
    """Every background of a library, page by page."""
    request = pb.ListBackgroundsRequest(parent=f"libraries/{library}")
    while True:
        page = stub.ListBackgrounds(request)
        yield from page.backgrounds
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def all_feedback(stub: gateway_pb2_grpc.GatewayServiceStub, library: str) -> Iterator[pb.Feedback]:
    """All that was said of a library's recommendations, page by page."""
    request = pb.ListFeedbackRequest(parent=f"libraries/{library}")
    while True:
        page = stub.ListFeedback(request)
        yield from page.feedback
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def parse_filter(text: str, given_as: str = "--where") -> pb.Filter:
    """`KEY=VALUE`, `KEY!=VALUE`, `KEY>=NUMBER`, `KEY<=NUMBER` or `KEY=NUMBER..NUMBER` as a filter.

    Several values are separated by commas. `given_as` says in an error where the text comes from.
    """
    parsed = re.fullmatch(r"(?P<key>[^=!<>]+)(?P<operator>!=|>=|<=|=)(?P<value>.+)", text)
    if parsed is None:
        fail(f"{given_as} {text}: write KEY=VALUE, KEY!=VALUE, KEY>=NUMBER, KEY<=NUMBER or KEY=NUMBER..NUMBER.")
    key, operator, value = parsed.group("key", "operator", "value")
    limits = _limits(operator, value)
    if limits is None:
        return pb.Filter(key=key, any_of=value.split(","), exclude=operator == "!=")
    low, high = (_number(f"{given_as} {text}", each) if each else None for each in limits)
    return pb.Filter(key=key, range=pb.Range(min=low, max=high), exclude=operator == "!=")


def filter_text(message: pb.Filter) -> str:
    """A filter as `parse_filter` reads it; an excluded range that has one limit only is written with `not`."""
    if not message.HasField("range"):
        return f"{message.key}{'!=' if message.exclude else '='}{','.join(message.any_of)}"
    limits = message.range
    if limits.HasField("min") and limits.HasField("max"):
        return f"{message.key}{'!=' if message.exclude else '='}{limits.min:g}..{limits.max:g}"
    one_limit = f">={limits.min:g}" if limits.HasField("min") else f"<={limits.max:g}"
    return f"{'not ' if message.exclude else ''}{message.key}{one_limit}"


def _limits(operator: str, value: str) -> tuple[str, str] | None:
    """The least and the largest number, empty where there is none; None for a value that is no range."""
    if operator == ">=":
        return value, ""
    if operator == "<=":
        return "", value
    between = re.fullmatch(r"([0-9.]*[0-9])\.\.([0-9.]+)", value)
    return (between[1], between[2]) if between else None


def parse_weight(text: str) -> pb.SignalWeight:
    """`SIGNAL=NUMBER` as a signal's weight."""
    name, _, number = text.partition("=")
    signals = [each.removeprefix("SIGNAL_").lower() for each in pb.Signal.keys()[1:]]
    if name not in signals:
        fail(f"--weight {text}: write SIGNAL=NUMBER with one of {', '.join(signals)}.")
    return pb.SignalWeight(signal=pb.Signal.Value(f"SIGNAL_{name.upper()}"), weight=_number(f"--weight {text}", number))


def _number(option: str, number: str) -> float:
    try:
        return float(number)
    except ValueError:
        fail(f"{option}: {number!r} is no number.")
