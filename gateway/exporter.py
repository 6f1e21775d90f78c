"""The export of a library: its backgrounds, each with its picture and the record of it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from aiostream import Stream, stream

from chassis.errors import BackdropError
from gateway.assets import Assets, PictureMissing
from gateway.domain import Background
from gateway.peers.ranker import Ranker
from gateway.records import PictureRecord

READ_AHEAD = 4
"""Pictures of one export that are read at once."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A background with its record and its picture; or the error that there is no picture."""

    background: Background
    record: PictureRecord
    image: bytes = b""
    error: BackdropError | None = None


class Exporter:
    """Exports libraries."""

    def __init__(self, ranker: Ranker, assets: Assets) -> None:
        self._ranker = ranker
        self._assets = assets

    async def export(self, library: str, timeout_s: float | None) -> AsyncGenerator[Exported, None]:
        """Every background of a library; raises `NotFound`. A picture that is missing ends nothing."""
        async with aclosing(self._ranker.export(library, timeout_s)) as stored:
            # No further picture is read while the receiver is slow.
            exported: Stream[Exported] = stream.map(stored, self._with_picture, task_limit=READ_AHEAD)
            async with exported.stream() as streamer:
                async for each in streamer:
                    yield each

    async def _with_picture(
        self, stored: tuple[Background, PictureRecord], *_: tuple[Background, PictureRecord]
    ) -> Exported:
        background, record = stored
        try:
            return Exported(background, record, await self._assets.get(background.name, background.sha256))
        except PictureMissing as error:
            return Exported(background, record, error=error)
