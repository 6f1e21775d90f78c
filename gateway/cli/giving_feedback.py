"""`backdrop feedback record`, and the feedback in the file of an export."""

import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
from google.protobuf import json_format
from rich.progress import track

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc
from chassis.errors import status_of
from gateway.cli.console import fail, out, stderr

_REFUSALS = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)


def record(
    stub: gateway_pb2_grpc.GatewayServiceStub, answer: Path, chosen: Sequence[str], rejected: Sequence[str]
) -> None:
    """Says what was chosen of an answer that was saved as JSON, and what rejected, by ids."""
    response = _read(answer)
    shown = [each.background.name for each in response.recommendations]
    if not shown or not response.recommendation_id:
        fail(f"{answer} takes no feedback.", "Nothing was found in it, or the photo could not be compared.")
    parent = shown[0].rsplit("/", 2)[0]
    request = pb.RecordFeedbackRequest(
        parent=parent,
        recommendation_id=response.recommendation_id,
        chosen=[f"{parent}/backgrounds/{each}" for each in chosen],
        rejected=[f"{parent}/backgrounds/{each}" for each in rejected],
    )
    if stub.RecordFeedback(request).HasField("feedback"):
        out(f"Recorded. Similar products of {parent.removeprefix('libraries/')} are ranked by it from now on.")
    else:
        out("Nothing is recorded of this answer now.")


def _read(answer: Path) -> pb.RecommendResponse:
    try:
        text = sys.stdin.read() if str(answer) == "-" else answer.read_text(encoding="utf-8")
        return json_format.Parse(text, pb.RecommendResponse(), ignore_unknown_fields=True)
    except (OSError, UnicodeDecodeError, json_format.ParseError):
        fail(f"{answer} is no answer.", "Save one with: backdrop recommend PHOTO --library NAME --json > answer.json")


def record_all(stub: gateway_pb2_grpc.GatewayServiceStub, requests: Sequence[pb.RecordFeedbackRequest]) -> None:
    """Says again what an export holds; tells how much of it could not be used here, and why."""
    refused: list[str] = []
    for request in track(requests, "Feedback", console=stderr, disable=not requests):
        try:
            stub.RecordFeedback(request)
        except grpc.RpcError as error:
            if not isinstance(error, grpc.Call) or error.code() not in _REFUSALS:
                raise
            refused.append(status_of(error).message)
    if requests:
        out(f"Recorded the feedback on {len(requests) - len(refused)} recommendations.")
    if refused:
        stderr.print(f"[yellow]not used[/] {len(refused)}, the first since: ", end="")
        stderr.print(refused[0], markup=False, soft_wrap=True)
