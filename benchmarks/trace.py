"""Draws the trace of one recommendation by all servers: `make trace`."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib import pyplot
from matplotlib.patches import Patch

from backdrop.gateway.v1 import gateway_pb2 as pb
from benchmarks.samples import PRODUCTS, running_stack
from tests.e2e.recommendation_trace import INSIDE, is_a_recommendation, nested
from tests.servers.otlp_receiver import ReceivedSpan, receiving

matplotlib.use("Agg")
PHOTO = PRODUCTS / "dumbbell.jpg"
COLORS = {
    "backdrop-gateway": "#4c6ef5",
    "backdrop-captioner": "#12b886",
    "backdrop-generator": "#f59f00",
    "backdrop-ranker": "#e64980",
    "backdrop-compositor": "#868e96",
}
NANOSECONDS_A_MS = 1e6


def main() -> None:
    """Starts the servers, asks once for a photo that they never saw, and draws what they tell of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/trace.png"))
    draw(record(), parser.parse_args().output)


def record() -> list[ReceivedSpan]:
    """The spans of a recommendation with two previews."""
    with receiving() as receiver:
        os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        with running_stack() as stack:
            stack.import_samples("samples", use_manifest=True)
            preview = pb.PreviewOptions(count=2)
            request = pb.RecommendRequest(parent="libraries/samples", image=PHOTO.read_bytes(), preview=preview)
            stack.stub.Recommend(request, timeout=60)
        return receiver.trace_with(is_a_recommendation, lambda found: nested(found) >= INSIDE)


def draw(spans: Sequence[ReceivedSpan], output: Path) -> None:
    """A waterfall: a bar for each span, indented under its parent, in the colour of its service."""
    rows = _in_order(spans)
    began = min(each.raw.start_time_unix_nano for each in spans)
    ended = max(each.raw.end_time_unix_nano for each in spans)
    # Shorter bars could not be seen.
    shortest = (ended - began) / NANOSECONDS_A_MS / 400
    figure, axes = pyplot.subplots(figsize=(15, 0.27 * len(rows) + 1.2), layout="constrained")
    for row, (_, span) in enumerate(rows):
        start, end = (
            (at - began) / NANOSECONDS_A_MS for at in (span.raw.start_time_unix_nano, span.raw.end_time_unix_nano)
        )
        axes.barh(row, max(end - start, shortest), left=start, color=COLORS[span.service], height=0.7)
        axes.text(end + 8, row, f"{end - start:,.0f} ms", va="center", fontsize=7)
        for event in span.raw.events:
            at = (event.time_unix_nano - began) / NANOSECONDS_A_MS
            axes.plot(at, row, marker="|", color="black", markersize=8)
    axes.set_yticks(
        range(len(rows)), ["    " * depth + _short(span.name) for depth, span in rows], fontsize=8, ha="left"
    )
    axes.tick_params(axis="y", pad=260, length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("milliseconds since the request came; a black stroke is an event, such as taken into a batch")
    axes.spines[["top", "right", "left"]].set_visible(False)
    handles = [Patch(color=color) for color in COLORS.values()]
    axes.legend(handles, [each.removeprefix("backdrop-") for each in COLORS], loc="center", bbox_to_anchor=(0.4, 0.5))
    figure.savefig(output, dpi=110)


def _in_order(spans: Sequence[ReceivedSpan]) -> list[tuple[int, ReceivedSpan]]:
    """The spans with their depths, each after its parent."""
    ids = {each.raw.span_id for each in spans}

    def below(parent: bytes | None, depth: int) -> list[tuple[int, ReceivedSpan]]:
        children = [
            each
            for each in spans
            if (each.raw.parent_span_id == parent if parent else each.raw.parent_span_id not in ids)
        ]
        children.sort(key=lambda each: each.raw.start_time_unix_nano)
        return [row for each in children for row in [(depth, each), *below(each.raw.span_id, depth + 1)]]

    return below(None, 0)


def _short(name: str) -> str:
    return name.rsplit(".", 1)[-1] if name.startswith("backdrop.") else name


if __name__ == "__main__":
    main()
