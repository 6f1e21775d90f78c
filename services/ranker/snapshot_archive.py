"""The file of a snapshot: a tar of one version, which Qdrant Edge unpacks as a snapshot of a shard.

    space.json                               the embedding models and the dimensions; made when the snapshot was
    edge_config.json, segments/..., wal/...  Qdrant Edge's own files
    sha256sums                               of all the files before it, as `sha256sum --check` reads them

Qdrant Edge unpacks snapshots and makes none, so the file is packed here.
"""

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chassis.errors import FailedPrecondition
from services.ranker.config import RankerConfig
from services.ranker.store_folder import (
    finish_version,
    is_full,
    require_room,
    start_version,
    sync,
    unreadable,
    version_path,
    writable,
)
from services.ranker.vector_store import VectorSpace

SPACE, SUMS = "space.json", "sha256sums"


class SnapshotDamaged(FailedPrecondition):
    """The file of a snapshot is not as it was written."""

    reason = "SNAPSHOT_DAMAGED"

    def __init__(self, name: str) -> None:
        super().__init__(f"Snapshot {name} is damaged or no snapshot; the store stays as it is. Restore another one.")


@dataclass(frozen=True, slots=True)
class Card:
    """What a snapshot tells of itself."""

    space: VectorSpace
    create_time: datetime


def read_card(archive: Path) -> Card:
    """What stands at the beginning of a snapshot; the rest may be damaged.

    Raises:
        SnapshotDamaged: it cannot be read.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            first = tar.next()
            content = tar.extractfile(first) if first and first.name == SPACE else None
            if first is None or content is None:
                raise ValueError(f"does not begin with {SPACE}")
            return Card(VectorSpace(**json.load(content)), datetime.fromtimestamp(first.mtime, UTC))
    except (tarfile.TarError, OSError, ValueError, TypeError) as error:
        raise SnapshotDamaged(archive.name) from error


@contextmanager
def open_archivist(config: RankerConfig) -> Iterator["Archivist"]:
    """Opens what packs and unpacks snapshots."""
    yield Archivist(config)


class Archivist:
    """Packs versions and unpacks snapshots, in a process of its own: large files, and an engine that holds the lock."""

    def __init__(self, config: RankerConfig) -> None:
        self.card = "archivist"
        self._path = config.store_path
        self._min_free_mib = config.store_min_free_mib

    def pack(self, number: int, archive: Path) -> None:
        """Copies all that is written to a version into an archive; nothing may be written meanwhile.

        Raises:
            StoreFull: the archive's disk has no room for it.
            StoreNotWritable: it cannot be written.
        """
        data = version_path(self._path, number) / "data"
        require_room(archive.parent, self._min_free_mib, sum(each.stat().st_size for each in _files(data)))
        with writable(archive.parent), tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
            tar.add(data / SPACE, SPACE, filter=_made_now)
            for each in sorted((data / "shard").iterdir()):
                tar.add(each, each.name)

    def seal(self, archive: Path) -> None:
        """Adds the checksums, and has the archive survive a power failure."""
        with writable(archive.parent):
            with tarfile.open(archive, "r:") as tar:
                sums = "".join(f"{_sha256(tar, each)}  {each.name}\n" for each in tar if each.isfile()).encode()
            with tarfile.open(archive, "a:", format=tarfile.GNU_FORMAT) as tar:
                member = _made_now(tarfile.TarInfo(SUMS))
                member.size = len(sums)
                tar.addfile(member, io.BytesIO(sums))
            sync(archive)

    def unpack(self, archive: Path, number: int) -> None:
        """Makes a version of a snapshot, by Qdrant's own means.

        Raises:
            StoreFull: the store's disk has no room for it.
            StoreNotWritable: it cannot be written.
            SnapshotDamaged: it is not as it was written.
        """
        require_room(self._path, self._min_free_mib, _size(archive))
        folder = version_path(self._path, number)
        with writable(self._path):
            unfinished = start_version(folder)
            shard = unfinished / "shard"
            shard.mkdir(parents=True)
            self._unpack_shard(archive, shard)
            (shard / SUMS).unlink()
            (shard / SPACE).rename(unfinished / SPACE)
            for each in (*shard.rglob("*"), shard):
                sync(each)
            finish_version(folder)

    def _unpack_shard(self, archive: Path, shard: Path) -> None:
        # The other methods need no engine, which takes memory.
        import qdrant_edge as edge

        try:
            edge.EdgeShard.unpack_snapshot(str(archive), str(shard))
            _check(shard)
        except (KeyboardInterrupt, SystemExit):
            raise
        # The engine's panics are no Exceptions.
        except BaseException as error:
            raise unreadable(self._path) if is_full(self._path) else SnapshotDamaged(archive.name) from error


def _check(shard: Path) -> None:
    """Raises unless the files in the folder are those of its checksums, and nothing else."""
    lines = (line.split("  ", 1) for line in (shard / SUMS).read_text().splitlines())
    sums = {name: expected for expected, name in lines}
    if sums.keys() != {str(each.relative_to(shard)) for each in _files(shard)} - {SUMS}:
        raise ValueError("files are missing, or are too many")
    for name, expected in sums.items():
        with (shard / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                raise ValueError(f"{name} has another checksum")


def _files(folder: Path) -> Iterator[Path]:
    return (each for each in folder.rglob("*") if each.is_file())


def _size(archive: Path) -> int:
    try:
        return archive.stat().st_size
    except OSError as error:
        raise SnapshotDamaged(archive.name) from error


def _sha256(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    # Its type in the stubs does not tell that it reads into buffers.
    content: Any = tar.extractfile(member)
    return hashlib.file_digest(content, "sha256").hexdigest()


def _made_now(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = int(time.time())
    return member
