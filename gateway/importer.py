"""The import of one background: features, captions, picture, and the ranker's record of it all."""

import asyncio
import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property

import structlog

from chassis.deadlines import Deadline
from chassis.errors import BackdropError, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from gateway import records
from gateway.assets import Assets
from gateway.captioning import CaptionWriter
from gateway.domain import Background, Caption, CaptionSource, Feature, Reading, Subject
from gateway.peers import Captioner, Ranker
from gateway.records import PictureRecord
from gateway.stopwatch import Stopwatch

log = structlog.get_logger(__name__)

CALL_SHARE = 0.5
MAX_TEXT = 1000


@dataclass(frozen=True)
class Item:
    """A background that is sent for import; fields as in the contract."""

    name: str
    image: bytes
    title: str
    keywords: tuple[str, ...]
    force: bool
    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    expire_time: datetime | None = None
    record: bytes | None = None

    @cached_property
    def sha256(self) -> str:
        """Lower-case hexadecimal digest of the picture."""
        return hashlib.sha256(self.image).hexdigest()


class Change(StrEnum):
    """What an import did."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item: a change and the background, or an error."""

    name: str
    change: Change | None = None
    background: Background | None = None
    error: BackdropError | None = None


class Importer:
    """Imports backgrounds, each on its own."""

    def __init__(
        self,
        captioner: Captioner,
        writer: CaptionWriter,
        ranker: Ranker,
        assets: Assets,
        deadline_s: float,
    ) -> None:
        self._captioner = captioner
        self._writer = writer
        self._ranker = ranker
        self._assets = assets
        self._deadline_s = deadline_s

    async def import_one(self, item: Item) -> Outcome:
        """Imports one background; whatever goes wrong is its outcome, and nobody else's."""
        try:
            return await self._import(item, Deadline(self._deadline_s))
        except BackdropError as error:
            return Outcome(item.name, error=error)
        except Exception:
            log.exception("import_crashed", name=item.name)
            return Outcome(item.name, error=BackdropError("An unexpected error happened; the gateway's log has it."))

    async def _import(self, item: Item, deadline: Deadline) -> Outcome:
        given = _given(item)
        known = await self._known(item.name, deadline)
        if known and not item.force and _same(known, item, given):
            return Outcome(item.name, Change.UNCHANGED, known)
        record = given or await self._look(item, deadline)
        background = _describe(item, record)
        # The picture first: what the ranker acknowledges can be shown.
        await self._assets.put(item.name, background.sha256, item.image)
        try:
            await self._ranker.upsert(background, record, deadline.share(CALL_SHARE))
        except BackdropError as error:
            if given is None or error.reason != InvalidArgument.reason:
                raise
            await self._forget_picture(background, known)
            raise InvalidArgument.of(
                "record", f"cannot be used here: {records.WITHOUT_RECORD}. {error.message}"
            ) from error
        if known and known.sha256 != background.sha256:
            await self._assets.discard(item.name, known.sha256)
        return Outcome(item.name, Change.UPDATED if known else Change.CREATED, background)

    async def _forget_picture(self, refused: Background, known: Background | None) -> None:
        """A library whose records are of another model would leave every picture behind."""
        if known is None or known.sha256 != refused.sha256:
            await self._assets.discard(refused.name, refused.sha256)

    async def _look(self, item: Item, deadline: Deadline) -> PictureRecord:
        """Reads the picture and writes captions for it."""
        reading = await self._read(item, deadline)
        # No caption is written for what will be refused.
        _require_own_keys(item, reading.features)
        captioned = await self._writer.write(reading, Subject.BACKGROUND, 1, "", deadline, Stopwatch())
        source = CaptionSource.TEMPLATE if captioned.templated else CaptionSource.GENERATED
        return PictureRecord(
            sha256=item.sha256,
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

    async def _read(self, item: Item, deadline: Deadline) -> Reading:
        """An import is in no hurry: while the captioner is overloaded, it comes again when it is told to."""
        while True:
            try:
                return await self._captioner.read(item.image, Subject.BACKGROUND, deadline.share(CALL_SHARE))
            except ResourceExhausted as error:
                if error.retry_after_s is None or error.retry_after_s >= deadline.left_s:
                    raise
                log.info("captioner_overloaded", name=item.name, retry_after_s=error.retry_after_s)
                await asyncio.sleep(error.retry_after_s)

    async def _known(self, name: str, deadline: Deadline) -> Background | None:
        try:
            return await self._ranker.get(name, deadline.share(CALL_SHARE))
        except NotFound:
            return None


def _given(item: Item) -> PictureRecord | None:
    if item.record is None:
        return None
    record = PictureRecord.from_bytes(item.record, item.sha256)
    _require_own_keys(item, record.features)
    return record


def _same(known: Background, item: Item, given: PictureRecord | None) -> bool:
    if given:
        return replace(known, update_time=None) == _describe(item, given)
    before = (known.sha256, known.title, known.keywords, known.attributes, known.expire_time)
    return before == (item.sha256, item.title, item.keywords, item.attributes, item.expire_time)


def _require_own_keys(item: Item, features: tuple[Feature, ...]) -> None:
    """Filters look at attributes and at what was read from the picture; one name must not mean both."""
    categories = {feature.category for feature in features}
    if clash := sorted(categories & records.RESERVED):
        raise FailedPrecondition(
            f"The captioner's taxonomy has a category {clash[0]!r}, which filters use for something else: rename it."
        )
    if clash := sorted(categories & item.attributes.keys()):
        raise InvalidArgument.of("attributes", f"{clash[0]!r} is read from the picture; name your attribute otherwise")


def _describe(item: Item, record: PictureRecord) -> Background:
    given = [item.title, ", ".join(item.keywords)[:MAX_TEXT]]
    return Background(
        name=item.name,
        title=item.title,
        keywords=item.keywords,
        captions=(*(Caption(text, CaptionSource.GIVEN) for text in given if text), *record.captions),
        features=record.features,
        width=record.width,
        height=record.height,
        content_type=record.content_type,
        size_bytes=len(item.image),
        sha256=item.sha256,
        degraded=record.degraded,
        attributes=item.attributes,
        expire_time=item.expire_time,
        palette=record.palette,
    )
