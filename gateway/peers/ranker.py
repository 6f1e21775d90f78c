"""The ranker."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import grpc

from backdrop.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from chassis.channels import call_metadata
from chassis.errors import from_rpc
from gateway.condition_messages import from_conditions, to_conditions
from gateway.domain import Background, Condition, Embedding, Feedback, Library, Ranking, Reading, Wish
from gateway.peers import ranker_messages as messages
from gateway.peers.peer import Peer
from gateway.records import PictureRecord


class Ranker(Peer):
    """Keeps backgrounds and finds those nearest to a text."""

    name = "ranker"
    service = ranker_pb2.DESCRIPTOR.services_by_name["RankerService"].full_name

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self._stub = ranker_pb2_grpc.RankerServiceStub(channel)

    async def upsert(self, background: Background, record: PictureRecord, timeout_s: float) -> None:
        """Stores a background durably, replacing the one of its name, with what was read from its picture.

        Raises:
            ResourceExhausted: the ranker has no room for it, or no memory.
            InvalidArgument: the picture was read with another model than the ranker's.
        """
        request = ranker_pb2.UpsertBackgroundsRequest(background=messages.from_background(background, record))
        call: Any = self._stub.UpsertBackgrounds(iter([request]), timeout=timeout_s, metadata=call_metadata())
        response = await self._answer(call.read())
        if response.HasField("error"):
            raise messages.to_refusal(response.error)

    async def get(self, name: str, timeout_s: float) -> Background:
        """Reads a background; raises `NotFound`."""
        request = ranker_pb2.GetBackgroundRequest(name=name)
        response = await self._call(self._stub.GetBackground, request, timeout_s)
        return messages.to_background(response.background)

    async def list(
        self, library: str, page_size: int, page_token: str, timeout_s: float
    ) -> tuple[list[Background], str]:
        """One page of a library and the token of the next; raises `NotFound`."""
        request = ranker_pb2.ListBackgroundsRequest(parent=library, page_size=page_size, page_token=page_token)
        response = await self._call(self._stub.ListBackgrounds, request, timeout_s)
        return [messages.to_background(each) for each in response.backgrounds], response.next_page_token

    async def library(self, name: str, timeout_s: float) -> Library:
        """A library as a whole; raises `NotFound` for one without backgrounds and rules."""
        request = ranker_pb2.GetLibraryRequest(name=name)
        response = await self._call(self._stub.GetLibrary, request, timeout_s)
        return Library(response.etag, to_conditions(response.rules))

    async def set_rules(
        self, library: str, rules: Sequence[Condition], timeout_s: float
    ) -> tuple[tuple[Condition, ...], tuple[str, ...]]:
        """Replaces the rules of a library; returns them, and those of their keys that no background of it has."""
        request = ranker_pb2.UpdateLibraryRequest(name=library, rules=from_conditions(rules, ranker_pb2))
        response = await self._call(self._stub.UpdateLibrary, request, timeout_s)
        return to_conditions(response.rules), tuple(response.unknown_keys)

    async def export(
        self, library: str, timeout_s: float | None
    ) -> AsyncGenerator[tuple[Background, PictureRecord], None]:
        """Every background of a library, with the record of its picture; raises `NotFound`."""
        request = ranker_pb2.ExportBackgroundsRequest(parent=library)
        call: Any = self._stub.ExportBackgrounds(request, timeout=timeout_s, metadata=call_metadata())
        try:
            async for response in call:
                yield messages.to_exported(response.background)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, self.name) from error
        finally:
            call.cancel()

    async def delete(self, name: str, timeout_s: float) -> None:
        """Forgets a background; raises `NotFound`."""
        request = ranker_pb2.DeleteBackgroundRequest(name=name)
        await self._call(self._stub.DeleteBackground, request, timeout_s)

    async def rank(
        self, wish: Wish, scenes: Sequence[str], embeddings: Sequence[Embedding], reading: Reading, timeout_s: float
    ) -> Ranking:
        """The backgrounds that suit the scenes, which count alike, and the product best.

        Args:
            wish: which backgrounds, and how many.
            scenes: n of them.
            embeddings: n of the scenes, to be compared with pictures; or none.
            reading: of the product's photo.
            timeout_s: for the answer.
        """
        request = messages.from_wish(wish, scenes, embeddings, reading)
        response = await self._call(self._stub.RankBackgrounds, request, timeout_s)
        return messages.to_ranking(response)

    async def record_feedback(self, library: str, feedback: Feedback, timeout_s: float) -> Feedback | None:
        """Takes down what was said; None when that was nothing, which takes back what was said before."""
        request = ranker_pb2.RecordFeedbackRequest(
            parent=library,
            recommendation_id=feedback.recommendation_id,
            chosen=feedback.chosen,
            rejected=feedback.rejected,
        )
        response = await self._call(self._stub.RecordFeedback, request, timeout_s)
        return messages.to_feedback(response.feedback) if response.HasField("feedback") else None

    async def feedback_page(
        self, library: str, page_size: int, page_token: str, timeout_s: float
    ) -> tuple[Sequence[Feedback], str]:
        """One page of what was said, and the token of the next page, empty after the last."""
        request = ranker_pb2.ListFeedbackRequest(parent=library, page_size=page_size, page_token=page_token)
        response = await self._call(self._stub.ListFeedback, request, timeout_s)
        return [messages.to_feedback(each) for each in response.feedback], response.next_page_token

    async def reset_feedback(self, library: str, timeout_s: float) -> int:
        """Forgets all feedback of a library; tells on how many recommendations there was some."""
        request = ranker_pb2.ResetFeedbackRequest(parent=library)
        response = await self._call(self._stub.ResetFeedback, request, timeout_s)
        return response.count
