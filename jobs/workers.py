"""What Ray runs: one task fetches pictures and leaves out what the library has, an actor reads and imports the rest."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from threading import Thread
from typing import Any, TypeVar

import pyarrow as pa
import structlog

from backdrop.gateway.v1 import gateway_pb2 as pb
from chassis.deadlines import Deadline
from chassis.errors import BackdropError, FailedPrecondition, InvalidArgument
from jobs.library import STOPPING, Door, Library
from jobs.pictures import PictureUnreadable, open_source, read_picture
from jobs.reading import open_looker
from services.captioner.config import CaptionerConfig

_OUTCOME = [(name, pa.string()) for name in ("file", "outcome", "reason", "message", "degraded")]
_PICTURE = [*_OUTCOME, ("request", pa.large_binary()), ("image", pa.large_binary())]
_FETCHES_AT_ONCE = 16
_PICTURE_S = 120.0
_TRIES = 3
_PAUSE_S = 5.0

Row = dict[str, Any]
Result = TypeVar("Result")


def to_page(rows: list[Row], *, done: bool = False) -> pa.Table:
    """Pictures that travel together, `done` with their outcomes alone: one row, since Ray may cut between rows."""
    fields = pa.struct(_OUTCOME if done else _PICTURE)
    names = [field.name for field in fields]
    pictures = [{name: row.get(name) for name in names} for row in rows]
    return pa.Table.from_pylist([{"pictures": pictures}], pa.schema({"pictures": pa.list_(fields)}))


def rows_of(pages: pa.Table) -> list[Row]:
    """The pictures of pages."""
    return [row for page in pages["pictures"].to_pylist() for row in page]


@dataclass(frozen=True, slots=True)
class Plan:
    """What every worker has to know.

    Attributes:
        source: folder or URL of the pictures.
        door: of the gateway.
        captioner: how the captioner is configured.
        generator_target: gRPC target; None for captions from templates.
        grounding_margin: the gateway's.
        force: import what the library has as well.
    """

    source: str
    door: Door
    captioner: CaptionerConfig
    generator_target: str | None
    grounding_margin: float
    force: bool


class Fetch:
    """Reads the bytes of a page of pictures, and finds out which of them the library has as they are."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __call__(self, page: pa.Table) -> pa.Table:
        """Adds the picture to each row that is to be imported, and the outcome to every other."""
        return to_page(asyncio.run(self._fetch_all(rows_of(page))))

    async def _fetch_all(self, rows: list[Row]) -> list[Row]:
        at_once = asyncio.Semaphore(_FETCHES_AT_ONCE)
        store = open_source(self._plan.source)
        async with Library.connect(self._plan.door) as library:

            async def fetch(row: Row) -> Row:
                if row["outcome"]:
                    return row
                async with at_once:
                    try:
                        image = await read_picture(store, row["file"])
                    except PictureUnreadable as error:
                        return row | _failed(error.reason, error.message)
                    request = pb.ImportBackgroundsRequest.FromString(row["request"])
                    try:
                        if not self._plan.force and await library.has(request, image):
                            return row | {"outcome": "unchanged", "request": None}
                    except BackdropError as error:
                        return row | _refused(error)
                    return row | {"image": image}

            return await asyncio.gather(*map(fetch, rows))


class Index:
    """Reads pictures with the captioner's model, has captions written, and imports each with what was found.

    The model is loaded with the first page. Ray calls it in several threads, a page in each, so that the model has the
    pictures of one while those of another are imported. A page that comes again, since its worker died, is done without
    reading what was acknowledged the first time.
    """

    def __init__(self, plan: Plan) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        self._plan = plan
        self._at_once = asyncio.Semaphore(2 * plan.captioner.max_batch)
        self._opened = AsyncExitStack()
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, name="index", daemon=True).start()
        self._run(self._open())

    def __call__(self, page: pa.Table) -> pa.Table:
        """The outcome of each row."""
        return to_page(self._run(self._index_all(rows_of(page))), done=True)

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> None:
        opened, plan = self._opened, self._plan
        self._looker = await opened.enter_async_context(
            open_looker(plan.captioner, plan.generator_target, plan.grounding_margin)
        )
        self._library = await opened.enter_async_context(Library.connect(plan.door))

    async def _index_all(self, rows: list[Row]) -> list[Row]:
        return await asyncio.gather(*map(self._index, rows))

    async def _index(self, row: Row) -> Row:
        if row["outcome"]:
            return row
        async with self._at_once:
            for tries_left in reversed(range(_TRIES)):
                try:
                    request = pb.ImportBackgroundsRequest.FromString(row["request"])
                    return row | await self._import(request, row["image"])
                except BackdropError as error:
                    if isinstance(error, (InvalidArgument, FailedPrecondition, *STOPPING)) or not tries_left:
                        return row | _refused(error)
                    # A model that is started again takes seconds.
                    await asyncio.sleep(error.retry_after_s or _PAUSE_S)
            raise AssertionError("the last try returns")

    async def _import(self, request: pb.ImportBackgroundsRequest, image: bytes) -> Row:
        if not self._plan.force and await self._library.has(request, image):
            return {"outcome": "unchanged"}
        own_keys = {each.key for each in request.attributes}
        record = await self._looker.look(request.name, image, own_keys, Deadline(_PICTURE_S))
        request.image, request.record = image, record.to_bytes()
        response = await self._library.add(request)
        degraded = ",".join(each.reason for each in response.background.degraded)
        return {"outcome": _OUTCOMES[response.outcome], "degraded": degraded}


_OUTCOMES = {pb.OUTCOME_CREATED: "created", pb.OUTCOME_UPDATED: "updated", pb.OUTCOME_UNCHANGED: "unchanged"}


def _refused(error: BackdropError) -> Row:
    # As a row, since Ray would tell of an exception in pages of its own, and lose its class.
    return _failed(error.reason, error.message) | ({"outcome": "stopped"} if isinstance(error, STOPPING) else {})


def _failed(reason: str, message: str) -> Row:
    return {"outcome": "failed", "reason": reason, "message": message}
