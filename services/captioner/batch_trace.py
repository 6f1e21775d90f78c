"""Batches in traces: which requests a batch serves, and which batch a request was served by."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.trace import Link, Span

from chassis import tracing


@contextmanager
def batch_span(name: str, items: Sequence[Span]) -> Iterator[None]:
    """A span around the model's work on a batch, with a link to each request in it, and from each of those to it.

    It lies inside the first request that is traced, so that it is kept where that one is.

    Args:
        name: of the batcher.
        items: the span that each item of the batch waits in; a request may have several items.
    """
    requests = list(dict.fromkeys(each for each in items if each.get_span_context().trace_flags.sampled))
    if not requests:
        yield
        return
    links = [Link(each.get_span_context()) for each in requests]
    attributes = {"backdrop.batch_size": len(items), "backdrop.requests": len(requests)}
    with tracing.span(f"batch of {name}", attributes, context=tracing.inside(requests[0]), links=links) as batch:
        for each in requests:
            each.add_event("taken into a batch", attributes)
            each.add_link(batch.get_span_context())
        yield
