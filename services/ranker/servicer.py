"""RankerService: the contract in terms of the catalog."""

import base64
import binascii
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import grpc
from google.protobuf import json_format

from backdrop.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from chassis import validation
from chassis.errors import BackdropError, InvalidArgument, ResourceExhausted, to_status
from services.ranker.background import (
    Background,
    BackgroundName,
    FreeSpace,
    ImageTextEmbedding,
    PaletteColor,
)
from services.ranker.catalog import Catalog
from services.ranker.condition_messages import from_conditions, to_conditions
from services.ranker.feedback import Feedback
from services.ranker.ranking import Hit, Product, WeightedText
from services.ranker.recommending import Request
from services.ranker.signals import Signal
from services.ranker.stream_groups import group_arrived

SERVICE_NAME = ranker_pb2.DESCRIPTOR.services_by_name["RankerService"].full_name
DEFAULT_PAGE_SIZE = 100
UPSERT_GROUP_SIZE = 16


class RankerServicer(ranker_pb2_grpc.RankerServiceServicer):
    """Translates between the contract and `Catalog`, and does nothing else."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def UpsertBackgrounds(
        self,
        request_iterator: AsyncIterator[ranker_pb2.UpsertBackgroundsRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[ranker_pb2.UpsertBackgroundsResponse]:
        """Stores what has arrived, group by group; one that comes alone does not wait for others."""
        async with aclosing(group_arrived(request_iterator, UPSERT_GROUP_SIZE)) as groups:
            async for group in groups:
                for response in await self._upsert(group):
                    yield response

    async def GetLibrary(
        self, request: ranker_pb2.GetLibraryRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ranker_pb2.GetLibraryResponse:
        """Tells which state a library is in, and its rules."""
        library = await self._catalog.library(_library(request.name))
        return ranker_pb2.GetLibraryResponse(etag=library.etag, rules=from_conditions(library.rules))

    async def UpdateLibrary(
        self, request: ranker_pb2.UpdateLibraryRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ranker_pb2.UpdateLibraryResponse:
        """Sets the rules of a library."""
        rules = to_conditions("rules", request.rules)
        unknown_keys = await self._catalog.set_rules(_library(request.name), rules)
        return ranker_pb2.UpdateLibraryResponse(rules=from_conditions(rules), unknown_keys=unknown_keys)

    async def GetBackground(
        self, request: ranker_pb2.GetBackgroundRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ranker_pb2.GetBackgroundResponse:
        """Reads one background."""
        background = await self._catalog.get(BackgroundName.parse(request.name))
        return ranker_pb2.GetBackgroundResponse(background=_from_background(background))

    async def ListBackgrounds(
        self, request: ranker_pb2.ListBackgroundsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ranker_pb2.ListBackgroundsResponse:
        """Reads one page of a library."""
        library = _library(request.parent)
        first_point = _from_page_token(request.page_token, library) if request.page_token else None
        page = await self._catalog.page(library, request.page_size or DEFAULT_PAGE_SIZE, first_point)
        return ranker_pb2.ListBackgroundsResponse(
            backgrounds=[_from_background(each) for each in page.backgrounds],
            next_page_token=_to_page_token(page.next_point, library) if page.next_point else "",
        )

    async def ExportBackgrounds(
        self, request: ranker_pb2.ExportBackgroundsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[ranker_pb2.ExportBackgroundsResponse]:
        """Gives all that is kept of a library."""
        async with aclosing(self._catalog.export(_library(request.parent))) as exported:
            async for each in exported:
                yield ranker_pb2.ExportBackgroundsResponse(background=_from_background(each))

    async def DeleteBackground(
        self, request: ranker_pb2.DeleteBackgroundRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ranker_pb2.DeleteBackgroundResponse:
        """Forgets one background."""
        await self._catalog.delete(BackgroundName.parse(request.name))
        return ranker_pb2.DeleteBackgroundResponse()

    async def RankBackgrounds(
        self, request: ranker_pb2.RankBackgroundsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ranker_pb2.RankBackgroundsResponse:
        """Finds the backgrounds that suit the texts and the product best."""
        slate = await self._catalog.rank(_to_request(request))
        return ranker_pb2.RankBackgroundsResponse(
            hits=[_from_hit(each) for each in slate.hits],
            model=slate.model,
            unused=[ranker_pb2.UnusedSignal(signal=_SIGNALS[each.signal], reason=each.reason) for each in slate.unused],
            recommendation_id=slate.recommendation_id,
            applied_rules=from_conditions(slate.rules),
            empty_reason=slate.empty_reason,
        )

    async def RecordFeedback(
        self, request: ranker_pb2.RecordFeedbackRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ranker_pb2.RecordFeedbackResponse:
        """Takes down which backgrounds of a recommendation were chosen, and which rejected."""
        feedback = _to_feedback(request, datetime.now(UTC))
        await self._catalog.record_feedback(feedback)
        if not feedback.chosen and not feedback.rejected:
            return ranker_pb2.RecordFeedbackResponse()
        return ranker_pb2.RecordFeedbackResponse(feedback=_from_feedback(feedback))

    async def ListFeedback(
        self, request: ranker_pb2.ListFeedbackRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ranker_pb2.ListFeedbackResponse:
        """Reads one page of what was recorded for a library."""
        library = _library(request.parent)
        # Another list than that of the backgrounds, whose tokens mean nothing here.
        listed = f"{library}/feedback"
        first_point = _from_page_token(request.page_token, listed) if request.page_token else None
        page = await self._catalog.feedback_page(library, request.page_size or DEFAULT_PAGE_SIZE, first_point)
        return ranker_pb2.ListFeedbackResponse(
            feedback=[_from_feedback(each) for each in page.feedback],
            next_page_token=_to_page_token(page.next_point, listed) if page.next_point else "",
        )

    async def ResetFeedback(
        self, request: ranker_pb2.ResetFeedbackRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ranker_pb2.ResetFeedbackResponse:
        """Forgets all feedback of a library."""
        return ranker_pb2.ResetFeedbackResponse(count=await self._catalog.reset_feedback(_library(request.parent)))

    async def _upsert(
        self, requests: Sequence[ranker_pb2.UpsertBackgroundsRequest]
    ) -> list[ranker_pb2.UpsertBackgroundsResponse]:
        now = datetime.now(UTC)
        read = [self._read(each, now) for each in requests]
        valid = [each for each in read if isinstance(each, Background)]
        try:
            created = iter(await self._catalog.upsert(valid)) if valid else iter(())
        except ResourceExhausted as error:
            read = [error if isinstance(each, Background) else each for each in read]
        return [
            _refused(request.background.name, each)
            if isinstance(each, BackdropError)
            else ranker_pb2.UpsertBackgroundsResponse(name=request.background.name, created=next(created))
            for request, each in zip(requests, read, strict=True)
        ]

    def _read(self, request: ranker_pb2.UpsertBackgroundsRequest, now: datetime) -> Background | BackdropError:
        """The background in a request, or why it is refused."""
        try:
            validation.check(request)
            background = _to_background(request.background, now)
            self._catalog.require_image_model(background)
            return background
        except InvalidArgument as error:
            return error


def _refused(name: str, error: BackdropError) -> ranker_pb2.UpsertBackgroundsResponse:
    refusal = ranker_pb2.UpsertError(reason=error.reason, message=error.message, status=to_status(error))
    return ranker_pb2.UpsertBackgroundsResponse(name=name, error=refusal)


def _to_background(message: ranker_pb2.Background, update_time: datetime) -> Background:
    attributes = {each.key: tuple(each.values) for each in message.attributes}
    if len(attributes) < len(message.attributes):
        raise InvalidArgument.of("background.attributes", "give each key once, with all of its values")
    try:
        metadata = json_format.MessageToDict(message.metadata)
    except (json_format.SerializeToJsonError, ValueError) as error:
        raise InvalidArgument.of("background.metadata", "numbers must be finite, and no value may be unset") from error
    image, space = message.image_embedding, message.free_space
    return Background(
        name=BackgroundName.parse(message.name),
        captions=tuple(message.captions),
        attributes=attributes,
        metadata=metadata,
        update_time=update_time,
        image=_to_embedding(image) if message.HasField("image_embedding") else None,
        palette=_to_palette(message.palette),
        free_space=FreeSpace(space.columns, space.rows, tuple(space.values))
        if message.HasField("free_space")
        else None,
        width=message.width,
        height=message.height,
        expire_time=message.expire_time.ToDatetime(UTC) if message.HasField("expire_time") else None,
        words=message.words,
    )


def _from_background(background: Background) -> ranker_pb2.Background:
    message = ranker_pb2.Background(
        name=str(background.name),
        captions=background.captions,
        attributes=[ranker_pb2.Attribute(key=key, values=values) for key, values in background.attributes.items()],
    )
    message.metadata.update(background.metadata)
    message.update_time.FromDatetime(background.update_time)
    message.palette.extend(ranker_pb2.PaletteColor(hex=each.hex, share=each.share) for each in background.palette)
    if space := background.free_space:
        message.free_space.CopyFrom(ranker_pb2.FreeSpace(columns=space.columns, rows=space.rows, values=space.values))
    message.width, message.height, message.words = background.width, background.height, background.words
    if background.image:
        image = background.image
        message.image_embedding.CopyFrom(ranker_pb2.ImageTextEmbedding(values=image.values, model=image.model))
    if background.expire_time:
        message.expire_time.FromDatetime(background.expire_time)
    return message


_SIGNALS = {each: ranker_pb2.Signal.Value(f"SIGNAL_{each.name}") for each in Signal}
_SIGNALS_BY_NUMBER = {number: signal for signal, number in _SIGNALS.items()}


def _to_request(request: ranker_pb2.RankBackgroundsRequest) -> Request:
    return Request(
        library=_library(request.parent),
        texts=[
            WeightedText(each.text, each.weight, _to_embedding(each.embedding) if each.HasField("embedding") else None)
            for each in request.texts
        ],
        conditions=to_conditions("filters", request.filters),
        limit=request.limit,
        product=_to_product(request.product),
        diversity=request.diversity,
        weights={_SIGNALS_BY_NUMBER[each.signal]: each.weight for each in request.weights},
    )


def _to_product(message: ranker_pb2.Product) -> Product:
    photo = _to_embedding(message.embedding) if message.HasField("embedding") else None
    return Product(_to_palette(message.palette), message.aspect_ratio, photo)


def _to_embedding(message: ranker_pb2.ImageTextEmbedding) -> ImageTextEmbedding:
    return ImageTextEmbedding(tuple(message.values), message.model)


def _to_palette(messages: Sequence[ranker_pb2.PaletteColor]) -> tuple[PaletteColor, ...]:
    return tuple(PaletteColor(each.hex, each.share) for each in messages)


def _from_hit(hit: Hit) -> ranker_pb2.Hit:
    return ranker_pb2.Hit(
        background=_from_background(hit.background),
        score=hit.score,
        matched_text=hit.matched_text,
        matched_caption=hit.matched_caption,
        parts=[
            ranker_pb2.ScorePart(caption=each.caption, similarity=each.similarity, weight=each.weight)
            for each in hit.parts
        ],
        signals=[
            ranker_pb2.SignalPart(signal=_SIGNALS[each.signal], similarity=each.similarity, weight=each.weight)
            for each in hit.signals
        ],
        duplicates=hit.duplicates,
    )


def _to_feedback(request: ranker_pb2.RecordFeedbackRequest, update_time: datetime) -> Feedback:
    return Feedback(
        library=_library(request.parent),
        recommendation_id=request.recommendation_id,
        chosen=_ids("chosen", request.chosen, request.parent),
        rejected=_ids("rejected", request.rejected, request.parent),
        update_time=update_time,
    )


def _ids(field: str, names: Sequence[str], parent: str) -> tuple[str, ...]:
    """The ids of backgrounds within the library, each once."""
    prefix = f"{parent}/backgrounds/"
    for number, name in enumerate(names):
        if not name.startswith(prefix):
            raise InvalidArgument.of(f"{field}[{number}]", f"use the name of a background of the parent, {prefix}...")
    return tuple(dict.fromkeys(name.removeprefix(prefix) for name in names))


def _from_feedback(feedback: Feedback) -> ranker_pb2.Feedback:
    def names(backgrounds: Sequence[str]) -> list[str]:
        return [str(BackgroundName(feedback.library, each)) for each in backgrounds]

    message = ranker_pb2.Feedback(
        recommendation_id=feedback.recommendation_id,
        chosen=names(feedback.chosen),
        rejected=names(feedback.rejected),
        shown=names(feedback.shown.backgrounds),
    )
    message.update_time.FromDatetime(feedback.update_time)
    return message


def _library(parent: str) -> str:
    return parent.removeprefix("libraries/")


def _to_page_token(point: UUID, library: str) -> str:
    """Where the next page begins, with a checksum that ties it to its library."""
    return base64.urlsafe_b64encode(point.bytes + _checksum(point, library)).decode()


def _from_page_token(token: str, library: str) -> UUID:
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        point = UUID(bytes=raw[:16])
        if raw[16:] == _checksum(point, library):
            return point
    except (binascii.Error, ValueError):
        pass
    raise InvalidArgument.of("page_token", "send the next_page_token of the page before, with the same parent")


def _checksum(point: UUID, library: str) -> bytes:
    return zlib.crc32(point.bytes + library.encode()).to_bytes(4, "big")
