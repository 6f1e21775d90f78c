"""The import of one background: features, captions, picture, and the ranker's record of it all."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property

import structlog

from chassis.deadlines import Deadline
from chassis.errors import BackdropError, FailedPrecondition, InvalidArgument, NotFound, OutOfMemory
from gateway import records
from gateway.assets import Assets
from gateway.domain import Background, Caption, CaptionSource
from gateway.looking import CALL_SHARE, PictureLooker, require_own_keys
from gateway.peers.ranker import Ranker
from gateway.records import PictureRecord

log = structlog.get_logger(__name__)

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
        looker: PictureLooker,
        ranker: Ranker,
        assets: Assets,
        deadline_s: float,
    ) -> None:
        self._looker = looker
        self._ranker = ranker
        self._assets = assets
        self._deadline_s = deadline_s

    async def import_one(self, item: Item) -> Outcome:
        """Imports one background; whatever goes wrong is its outcome, and nobody else's."""
        try:
            return await self._import(item, Deadline(self._deadline_s))
        except BackdropError as error:
            return Outcome(item.name, error=error)
        except MemoryError:
            return Outcome(item.name, error=OutOfMemory("The gateway is out of memory; try again.", retry_after_s=1))
        except Exception:
            log.exception("import_crashed", name=item.name)
            return Outcome(item.name, error=BackdropError("An unexpected error happened; the gateway's log has it."))

    async def _import(self, item: Item, deadline: Deadline) -> Outcome:
        given = _given(item)
        known = await self._known(item.name, deadline)
        if known and not item.force and _same(known, item, given):
            return Outcome(item.name, Change.UNCHANGED, known)
        record = given or await self._looker.look(item.name, item.image, set(item.attributes), deadline)
        background = _describe(item, record)
        # The picture first: what the ranker acknowledges can be shown.
        await self._assets.put(item.name, background.sha256, item.image)
        try:
            await self._ranker.upsert(background, record, deadline.share(CALL_SHARE))
        except InvalidArgument as error:
            await self._forget_picture(background, known)
            if given is None:
                if all("embedding" not in each.field for each in error.violations):
                    raise
                misfit = f"The captioner and the ranker do not fit together. {error.message}"
                raise FailedPrecondition(misfit) from error
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

    async def _known(self, name: str, deadline: Deadline) -> Background | None:
        try:
            return await self._ranker.get(name, deadline.share(CALL_SHARE))
        except NotFound:
            return None


def _given(item: Item) -> PictureRecord | None:
    if item.record is None:
        return None
    record = PictureRecord.from_bytes(item.record, item.sha256)
    require_own_keys(set(item.attributes), record.features)
    return record


def _same(known: Background, item: Item, given: PictureRecord | None) -> bool:
    if given:
        return replace(known, update_time=None) == _describe(item, given)
    before = (known.sha256, known.title, known.keywords, known.attributes, known.expire_time)
    return before == (item.sha256, item.title, item.keywords, item.attributes, item.expire_time)


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
