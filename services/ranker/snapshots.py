"""Snapshots of the embedded store: copies of all of it, made and gone back to while it serves."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import structlog

from chassis.errors import FailedPrecondition, NotFound
from services.ranker.config import RankerConfig
from services.ranker.edge_store import EdgeFolder, EdgeStore
from services.ranker.index import Index, Version, as_they_are
from services.ranker.snapshot_archive import Card, SnapshotDamaged, read_card
from services.ranker.store_folder import sync, writable
from services.ranker.vector_store import EmbeddingModelChanged, StoreDamaged

log = structlog.get_logger(__name__)


class SnapshotNotFound(NotFound):
    """There is no snapshot of that name."""

    reason = "SNAPSHOT_NOT_FOUND"


class SnapshotsByQdrant(FailedPrecondition):
    """The store is a Qdrant server's, which makes snapshots itself."""

    reason = "SNAPSHOTS_BY_QDRANT"

    def __init__(self) -> None:
        super().__init__(
            "This ranker keeps its vectors on a Qdrant server: use the server's own snapshots."
            " docs/backup.md tells how."
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The file of a snapshot; without a card where it cannot be read."""

    name: str
    size_bytes: int
    card: Card | None


class Snapshots:
    """Makes snapshots of the store of an index, and puts them in its place."""

    def __init__(self, index: Index[EdgeStore], home: EdgeFolder, config: RankerConfig) -> None:
        self._index = index
        self._home = home
        self._folder = config.snapshots_path or config.store_path / "snapshots"
        self._creating = asyncio.Lock()
        self._restoring: set[asyncio.Task[None]] = set()

    async def create(self) -> Snapshot:
        """Makes a snapshot, with all that was acknowledged before.

        Raises:
            StoreFull: its disk has no room for it.
            StoreNotWritable: its folder cannot be written.
        """
        async with self._creating:
            unfinished = await asyncio.to_thread(self._start)
            try:
                await self._write(unfinished)
                return await asyncio.to_thread(self._finish, unfinished)
            finally:
                unfinished.unlink(missing_ok=True)

    async def all(self) -> list[Snapshot]:
        """All snapshots, the latest first."""
        return await asyncio.to_thread(self._list)

    async def delete(self, name: str) -> None:
        """Removes a snapshot for good.

        Raises:
            SnapshotNotFound: there is none of that name.
            StoreNotWritable: it cannot be removed.
        """
        await asyncio.to_thread(self._delete, name)

    async def restore(self, name: str) -> None:
        """Puts a snapshot in the place of the store, with what is written meanwhile; goes on when it is cancelled.

        Raises:
            SnapshotNotFound: there is none of that name.
            SnapshotDamaged: it is not as it was written, or cannot be opened.
            EmbeddingModelChanged: it is of other models.
            StoreFull: the disk has no room for it.
        """
        restoring = asyncio.create_task(self._restore(self._existing(name)), name=f"restore {name}")
        self._restoring.add(restoring)
        restoring.add_done_callback(self._restoring.discard)
        # The version in use and the one on record must not part because a caller left in between.
        await asyncio.shield(restoring)

    async def aclose(self) -> None:
        """Ends what is under way; the version in use stays."""
        for each in self._restoring:
            each.cancel()
        await asyncio.gather(*self._restoring, return_exceptions=True)

    def _start(self) -> Path:
        """Where the next snapshot is written; what was never finished is gone."""
        with writable(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            for each in self._folder.glob("*.unfinished"):
                each.unlink()
        return self._folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}.tar.unfinished"

    async def _write(self, unfinished: Path) -> None:
        loop = asyncio.get_running_loop()
        async with self._home.open_archivist() as archivist:
            async with self._index.held() as version:
                started = loop.time()
                await archivist.call("pack", version.store.number, unfinished)
                held_s = loop.time() - started
            await archivist.call("seal", unfinished)
        log.info("snapshot_made", snapshot=unfinished.stem, writes_held_s=round(held_s, 2))

    def _finish(self, unfinished: Path) -> Snapshot:
        with writable(self._folder):
            finished = unfinished.rename(unfinished.with_suffix(""))
            sync(self._folder)
        return _described(finished)

    def _delete(self, name: str) -> None:
        with writable(self._folder):
            self._existing(name).unlink(missing_ok=True)

    def _list(self) -> list[Snapshot]:
        found = []
        for each in self._folder.glob("*.tar"):
            # One that is deleted meanwhile is no snapshot any more.
            with suppress(FileNotFoundError):
                found.append(_described(each))
        return sorted(found, key=lambda each: each.card.create_time if each.card else _NEVER, reverse=True)

    def _existing(self, name: str) -> Path:
        path = self._folder / name
        if not path.is_file():
            raise SnapshotNotFound(f"There is no snapshot {name} in {self._folder}.")
        return path

    async def _restore(self, archive: Path) -> None:
        async with self._index.replacing:
            try:
                await self._replace(archive, self._home.new_version())
            except Exception as error:
                log.warning("restore_failed", snapshot=archive.name, error=str(error))
                raise
            finally:
                await self._home.clean()
        log.info("snapshot_restored", snapshot=archive.name)

    async def _replace(self, archive: Path, number: int) -> None:
        old = self._index.version
        stored = (await asyncio.to_thread(read_card, archive)).space
        if stored != old.space:
            raise EmbeddingModelChanged(
                f"Snapshot {archive.name} holds vectors of {stored}, but the ranker's are of {old.space}. Restore it"
                " with BACKDROP_RANKER_EMBEDDING_MODEL and BACKDROP_RANKER_IMAGE_MODEL set to its models."
            )

        async def begin() -> None:
            pass

        async def open_version() -> Version[EdgeStore]:
            async with self._home.open_archivist() as archivist:
                await archivist.call("unpack", archive, number)
            try:
                return await Version.open(old.embedder, old.space, self._home.open_version(number, old.space))
            except StoreDamaged as error:
                raise SnapshotDamaged(archive.name) from error

        await self._index.replace(begin, open_version, as_they_are, self._home.use, same_content=False)


_NEVER = datetime.min.replace(tzinfo=UTC)


def _described(path: Path) -> Snapshot:
    try:
        card = read_card(path)
    except SnapshotDamaged:
        card = None
    return Snapshot(path.name, path.stat().st_size, card)
