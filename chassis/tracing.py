"""Traces by OpenTelemetry, sent to the collector that the standard variables name; without one, nothing is recorded."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
CLOSE_S = 2.0
"""The most that a server waits at its end for a collector to take the last spans."""

# Finds the provider at its first use, which may come later.
_tracer = trace.get_tracer("backdrop")


def is_on() -> bool:
    """The environment names a collector."""
    switched_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not switched_off and any(os.environ.get(each) for each in ENDPOINTS)


@contextmanager
def exporting(service: str) -> Iterator[None]:
    """Sends spans to the collector inside the `with`, from a thread of their own; does nothing where there is none.

    Requests never wait for the collector: what it does not take in time is dropped.

    Args:
        service: its name, unless OTEL_SERVICE_NAME gives another.
    """
    if not is_on():
        yield
        return
    # Imported here, as a server without a collector need not hold them.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create().merge(Resource({SERVICE_NAME: service})).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        closing = Thread(target=provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)


@contextmanager
def span(
    name: str,
    attributes: Mapping[str, AttributeValue] | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    context: Context | None = None,
    links: Iterable[Link] = (),
    note_errors: bool = True,
) -> Iterator[Span]:
    """A span around the block, inside the current one or that of `context`.

    The kind of an error that ends it is noted, unless `note_errors` is false; never its message, which may hold what a
    client or a model wrote.
    """
    with _tracer.start_as_current_span(
        name,
        context,
        kind,
        attributes,
        tuple(links),
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Exception as error:
            if not note_errors:
                raise
            kind_of_error = str(getattr(error, "reason", "") or type(error).__name__)
            current.set_attribute("error.type", kind_of_error)
            current.set_status(StatusCode.ERROR, kind_of_error)
            raise


def current_span() -> Span:
    """The span that surrounds the caller; one that records nothing where there is none."""
    return trace.get_current_span()


def inside(parent: Span) -> Context:
    """The context of what happens inside a span that is not the current one."""
    return trace.set_span_in_context(parent, Context())


def context_of(metadata: Iterable[tuple[str, Any]]) -> Context:
    """The caller's context, as its metadata tell (W3C traceparent)."""
    return propagate.extract({key: str(value) for key, value in metadata})


def trace_metadata() -> dict[str, str]:
    """Metadata that tell a callee the current context; none outside of any trace."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def ids() -> dict[str, str]:
    """The current `trace_id` and `span_id` in hexadecimal; none outside of any trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def exemplar() -> dict[str, str] | None:
    """The trace that a metric's observation belongs to, where that trace is kept."""
    return ids() if trace.get_current_span().get_span_context().trace_flags.sampled else None
