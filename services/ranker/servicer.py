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
from chassis.errors import InvalidArgument
from services.ranker.background import Background, BackgroundName, Filter
from services.ranker.catalog import Catalog
from services.ranker.ranking import Hit, WeightedText
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

    async def DeleteBackground(
        self, request: ranker_pb2.DeleteBackgroundRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ranker_pb2.DeleteBackgroundResponse:
        """Forgets one background."""
        await self._catalog.delete(BackgroundName.parse(request.name))
        return ranker_pb2.DeleteBackgroundResponse()

    async def RankBackgrounds(
        self, request: ranker_pb2.RankBackgroundsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ranker_pb2.RankBackgroundsResponse:
        """Finds the backgrounds nearest to the texts."""
        texts = [WeightedText(each.text, each.weight) for each in request.texts]
        filters = [Filter(each.key, tuple(each.any_of), each.exclude) for each in request.filters]
        hits = await self._catalog.rank(_library(request.parent), texts, filters, request.limit)
        return ranker_pb2.RankBackgroundsResponse(hits=[_from_hit(each) for each in hits], model=self._catalog.model)

    async def _upsert(
        self, requests: Sequence[ranker_pb2.UpsertBackgroundsRequest]
    ) -> list[ranker_pb2.UpsertBackgroundsResponse]:
        now = datetime.now(UTC)
        read = [_read(each, now) for each in requests]
        valid = [each for each in read if isinstance(each, Background)]
        created = iter(await self._catalog.upsert(valid)) if valid else iter(())
        return [
            _refused(request.background.name, each)
            if isinstance(each, InvalidArgument)
            else ranker_pb2.UpsertBackgroundsResponse(name=request.background.name, created=next(created))
            for request, each in zip(requests, read, strict=True)
        ]


def _read(request: ranker_pb2.UpsertBackgroundsRequest, now: datetime) -> Background | InvalidArgument:
    """The background in a request, or why it is refused."""
    try:
        validation.check(request)
        return _to_background(request.background, now)
    except InvalidArgument as error:
        return error


def _refused(name: str, error: InvalidArgument) -> ranker_pb2.UpsertBackgroundsResponse:
    return ranker_pb2.UpsertBackgroundsResponse(
        name=name, error=ranker_pb2.UpsertError(reason=error.reason, message=error.message)
    )


def _to_background(message: ranker_pb2.Background, update_time: datetime) -> Background:
    attributes = {each.key: tuple(each.values) for each in message.attributes}
    if len(attributes) < len(message.attributes):
        raise InvalidArgument.of("background.attributes", "give each key once, with all of its values")
    try:
        metadata = json_format.MessageToDict(message.metadata)
    except (json_format.SerializeToJsonError, ValueError) as error:
        raise InvalidArgument.of("background.metadata", "numbers must be finite, and no value may be unset") from error
    return Background(BackgroundName.parse(message.name), tuple(message.captions), attributes, metadata, update_time)


def _from_background(background: Background) -> ranker_pb2.Background:
    message = ranker_pb2.Background(
        name=str(background.name),
        captions=background.captions,
        attributes=[ranker_pb2.Attribute(key=key, values=values) for key, values in background.attributes.items()],
    )
    message.metadata.update(background.metadata)
    message.update_time.FromDatetime(background.update_time)
    return message


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
    )


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
