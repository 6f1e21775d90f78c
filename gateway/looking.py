"""What is read from a picture and written about it, for whoever imports it: the gateway, or a bulk job."""

import asyncio
import hashlib
from typing import Protocol

import structlog

from chassis.deadlines import Deadline
from chassis.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from gateway import records
from gateway.captioning import CaptionWriter, TextScorer
from gateway.domain import Caption, CaptionSource, Feature, Reading, Subject
from gateway.records import PictureRecord
from gateway.stopwatch import Stopwatch

log = structlog.get_logger(__name__)

CALL_SHARE = 0.5


class PhotoReader(TextScorer, Protocol):
    """Reads photos: the captioner, over gRPC or in this process."""

    async def read(self, image: bytes, subject: Subject, timeout_s: float) -> Reading:
        """What the encoded photo shows, read against the subject's taxonomy."""
        ...


class PictureLooker:
    """Looks at pictures: reads each and has captions written for it."""

    def __init__(self, captioner: PhotoReader, writer: CaptionWriter) -> None:
        self._captioner = captioner
        self._writer = writer

    async def look(self, name: str, image: bytes, own_keys: set[str], deadline: Deadline) -> PictureRecord:
        """Reads a picture and writes captions for it.

        Args:
            name: of the background, for the log.
            image: the encoded picture.
            own_keys: of the shop's own attributes.
            deadline: for all of it.

        Raises:
            BackdropError: the picture cannot be read, or `require_own_keys` refuses it.
        """
        reading = await self._read(name, image, deadline)
        # No caption is written for what will be refused.
        require_own_keys(own_keys, reading.features)
        captioned = await self._writer.write(reading, Subject.BACKGROUND, 1, "", deadline, Stopwatch())
        source = CaptionSource.TEMPLATE if captioned.templated else CaptionSource.GENERATED
        return PictureRecord(
            sha256=hashlib.sha256(image).hexdigest(),
            content_type=reading.content_type,
            width=reading.width,
            height=reading.height,
            features=reading.features,
            captions=tuple(Caption(candidate.draft.caption, source) for candidate in captioned.used),
            palette=reading.palette,
            free_space=reading.free_space,
            search_embedding=reading.search_embedding,
            degraded=captioned.degraded,
        )

    async def _read(self, name: str, image: bytes, deadline: Deadline) -> Reading:
        """An import is in no hurry: while the captioner is overloaded, it comes again when it is told to."""
        while True:
            try:
                return await self._captioner.read(image, Subject.BACKGROUND, deadline.share(CALL_SHARE))
            except ResourceExhausted as error:
                if error.retry_after_s is None or error.retry_after_s >= deadline.left_s:
                    raise
                log.info("captioner_overloaded", name=name, retry_after_s=error.retry_after_s)
                await asyncio.sleep(error.retry_after_s)


def require_own_keys(own_keys: set[str], features: tuple[Feature, ...]) -> None:
    """Filters look at attributes and at what was read from the picture; one name must not mean both.

    Raises:
        FailedPrecondition: a category of the taxonomy has a name that filters use for something else.
        InvalidArgument: an attribute has the name of a category.
    """
    categories = {feature.category for feature in features}
    if clash := sorted(categories & records.RESERVED):
        raise FailedPrecondition(
            f"The captioner's taxonomy has a category {clash[0]!r}, which filters use for something else: rename it."
        )
    if clash := sorted(categories & own_keys):
        raise InvalidArgument.of("attributes", f"{clash[0]!r} is read from the picture; name your attribute otherwise")
