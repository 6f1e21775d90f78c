"""The folder of an embedded store: who owns it, which version of the index is in use, and which vectors lie in it.

    lock                        held by the ranker that owns the store, with its process id
    current                     the number of the version in use
    versions/1/lock             held by the engine's process
    versions/1/data/space.json  the embedding model and the dimension of the vectors
    versions/1/data/shard/      Qdrant Edge's own files
    snapshots/                  copies of the store (`snapshot_archive`), unless they are kept elsewhere

`data` and `current` are written under another name and renamed when they are whole, so a process that dies on the way
leaves nothing half.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from services.ranker.vector_store import StoreDamaged, StoreFull, StoreInUse, StoreNotWritable, VectorSpace

_FULL_BYTES = 1 << 20


@contextmanager
def owned_folder(path: Path, owner: int | None = None, patience_s: float = 0.0) -> Iterator[None]:
    """Makes the folder and owns it inside the `with`; the system lets go of it when the process dies, however it dies.

    Args:
        path: the folder.
        owner: the process that others are told of, where it is not this one.
        patience_s: how long to wait for another process to let go of it.

    Raises:
        StoreInUse: another process owns it, or this one does already.
        StoreNotWritable: it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "lock").open("a+")
    except OSError as error:
        raise StoreNotWritable(
            f"The ranker cannot write in {path} ({error.strerror}). Make the folder writable, or name another one with"
            " BACKDROP_RANKER_STORE_PATH."
        ) from error
    with lock:
        if not _locked(lock, patience_s):
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise StoreInUse(
                f"Another ranker (process {holder}) uses {path}. Stop it, or name another folder with"
                " BACKDROP_RANKER_STORE_PATH."
            )
        lock.truncate(0)
        lock.write(str(owner or os.getpid()))
        lock.flush()
        yield


def _locked(lock: IO[str], patience_s: float) -> bool:
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)


def current_version(path: Path) -> int | None:
    """The number of the version in use; None of a store that is to be made.

    Raises:
        StoreDamaged: it cannot be read.
    """
    try:
        return int((path / "current").read_text())
    except FileNotFoundError:
        # Whoever made the first version died before it was named, or the file is lost.
        return max(versions(path), default=None)
    except (OSError, ValueError) as error:
        raise damaged(path) from error


def use_version(path: Path, number: int) -> None:
    """Makes a version the one in use, at once and for good.

    Raises:
        StoreNotWritable: the disk is full, or the folder cannot be written.
    """
    unfinished = path / "current.unfinished"
    with writable(path):
        unfinished.write_text(str(number))
        sync(unfinished)
        unfinished.rename(path / "current")
        sync(path)


def version_path(path: Path, number: int) -> Path:
    """The folder of a version."""
    return path / "versions" / str(number)


def versions(path: Path) -> list[int]:
    """The numbers of all versions that are whole, in their order."""
    return sorted(int(each.parent.name) for each in (path / "versions").glob("*/data") if each.parent.name.isdigit())


def remove_versions(path: Path, keep: Container[int]) -> None:
    """Removes all versions but those of the numbers in `keep`, and what is left of some that were never finished."""
    for folder in (path / "versions").glob("*"):
        if not (folder.name.isdigit() and int(folder.name) in keep):
            shutil.rmtree(folder, ignore_errors=True)


def make_version(path: Path, number: int, space: VectorSpace, create: Callable[[Path], None]) -> None:
    """Makes a version, unless there is one.

    Args:
        path: the store's folder.
        number: of the version.
        space: of the vectors that it will hold.
        create: makes the shard in the folder that it is given, flushes it to the disk and closes it.

    Raises:
        StoreNotWritable: the disk is full, or the folder cannot be written.
    """
    folder = version_path(path, number)
    if (folder / "data").exists():
        return
    with writable(path):
        unfinished = start_version(folder)
        (unfinished / "shard").mkdir(parents=True)
        (unfinished / "space.json").write_text(json.dumps(asdict(space)))
        create(unfinished / "shard")
        finish_version(folder)


def start_version(folder: Path) -> Path:
    """Where a version is written, in its folder, until it is whole; nothing is there."""
    unfinished = folder / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return unfinished


def finish_version(folder: Path) -> None:
    """Makes a version whole, durably; the shard's own files are durable already."""
    unfinished = folder / "data.unfinished"
    for written in (unfinished / "space.json", unfinished):
        sync(written)
    unfinished.rename(folder / "data")
    sync(folder)


def record_compacted(folder: Path, points: int) -> None:
    """Notes in a version that is being written how many points a compaction has laid out."""
    note = folder / "data.unfinished" / "compacted"
    note.write_text(str(points))
    sync(note)


def compacted_points(path: Path, number: int) -> int:
    """How many points the compaction that made a version has laid out; 0 where none made it."""
    try:
        return int((version_path(path, number) / "data" / "compacted").read_text())
    except (OSError, ValueError):
        return 0


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turns errors of the disk into the store's."""
    try:
        yield
    except OSError as error:
        raise StoreNotWritable(f"The ranker cannot write in {path} ({error.strerror}).") from error


def require_room(path: Path, min_free_mib: int, size_bytes: int = 0) -> None:
    """Raises `StoreFull` when the disk of an owned folder will have less left: the engine does not survive a full one.

    Args:
        path: the folder.
        min_free_mib: what has to be left.
        size_bytes: of what is to be written at once, where that is much.
    """
    free_mib, size_mib = shutil.disk_usage(path).free >> 20, size_bytes >> 20
    if free_mib - size_mib < min_free_mib:
        needed = f" {size_mib} MiB are needed," if size_mib else ""
        raise StoreFull(
            f"The disk of {path} has {free_mib} MiB left,{needed} and the ranker keeps {min_free_mib} MiB free: nothing"
            " more is stored. Make room, or lower BACKDROP_RANKER_STORE_MIN_FREE_MIB."
        )


def stored_space(path: Path, number: int) -> VectorSpace:
    """The space of the vectors in a version.

    Raises:
        StoreDamaged: it cannot be read.
    """
    try:
        return VectorSpace(**json.loads((version_path(path, number) / "data" / "space.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise damaged(path) from error


def damaged(path: Path) -> StoreDamaged:
    """The error for a folder that holds something else than a whole store."""
    return StoreDamaged(
        f"The store in {path} is damaged. Restore the folder from a backup; or delete it, start the ranker and import"
        " the backgrounds again."
    )


def unreadable(path: Path) -> StoreDamaged | StoreNotWritable:
    """The error for a store that cannot be opened: of a full disk the engine makes damage, which room mends."""
    if is_full(path):
        return StoreNotWritable(f"The disk of {path} is full, so the store cannot be opened: make room.")
    return damaged(path)


def is_full(path: Path) -> bool:
    """The disk of a folder has no room left."""
    return shutil.disk_usage(path).free < _FULL_BYTES


def sync(path: Path) -> None:
    """Has a file or the entries of a folder survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
