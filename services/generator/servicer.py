"""Translates between the contract and the caption writer."""

from typing import Any

import grpc

from backdrop.generator.v1 import generator_pb2, generator_pb2_grpc
from services.generator.answer_cache import Answer
from services.generator.candidates import Candidate
from services.generator.caption_writer import CaptionWriter
from services.generator.languages import ENGLISH
from services.generator.prompt import Subject

SERVICE_NAME = generator_pb2.DESCRIPTOR.services_by_name["GeneratorService"].full_name

# Kept of the caller's deadline, so that it learns what was late.
REPLY_S = 0.05

SUBJECTS = {
    generator_pb2.SUBJECT_PRODUCT: Subject.PRODUCT,
    generator_pb2.SUBJECT_BACKGROUND: Subject.BACKGROUND,
}


class GeneratorServicer(generator_pb2_grpc.GeneratorServiceServicer):
    """Serves `backdrop.generator.v1.GeneratorService`.

    Args:
        writer: writes the captions.
        timeout_s: the most that one answer may take.
    """

    def __init__(self, writer: CaptionWriter, timeout_s: float) -> None:
        self._writer = writer
        self._timeout_s = timeout_s

    async def WriteCaptions(
        self,
        request: generator_pb2.WriteCaptionsRequest,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> generator_pb2.WriteCaptionsResponse:
        """Writes captions and scenes; see the contract."""
        answer = await self._writer.write(
            features=[(each.category, list(each.labels)) for each in request.features],
            subject=SUBJECTS[request.subject],
            count=request.candidate_count,
            language=request.language or ENGLISH,
            timeout_s=self._time_left_s(context),
        )
        return _response(answer)

    def _time_left_s(self, context: "grpc.aio.ServicerContext[Any, Any]") -> float:
        time_remaining_s = context.time_remaining()
        return self._timeout_s if time_remaining_s is None else min(self._timeout_s, time_remaining_s - REPLY_S)


def _response(answer: Answer) -> generator_pb2.WriteCaptionsResponse:
    return generator_pb2.WriteCaptionsResponse(
        candidates=[_candidate(each) for each in answer.candidates],
        model=answer.model,
        prompt_version=answer.prompt_version,
        usage=generator_pb2.Usage(
            prompt_tokens=answer.usage.prompt_tokens, completion_tokens=answer.usage.completion_tokens
        ),
        cached=answer.cached,
        language=answer.language,
    )


def _candidate(candidate: Candidate) -> generator_pb2.Candidate:
    message = generator_pb2.Candidate(
        caption=candidate.caption,
        scene=candidate.scene,
        unsupported=candidate.unsupported,
        unsuitable=candidate.unsuitable,
    )
    if candidate.translation is not None:
        message.translation.caption = candidate.translation.caption
        message.translation.scene = candidate.translation.scene
    return message
