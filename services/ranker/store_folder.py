"""The folder of an embedded store: who owns it, and which vectors lie in it.

    lock             held by the owner, with its process id
    data/space.json  the embedding model and the dimension of its vectors
    data/shard/      Qdrant Edge's own files

`data` is made under another name and renamed when it is whole, so a process that dies on the way leaves no half store.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from services.ranker.vector_store import StoreDamaged, StoreFull, StoreInUse, StoreNotWritable, VectorSpace


@contextmanager
def owned_folder(path: Path, owner: int | None = None) -> Iterator[None]:
    """Makes the folder and owns it inside the `with`; the system lets go of it when the process dies, however it dies.

    Args:
        path: the folder.
        owner: the process that others are told of, where it is not this one.

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
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise StoreInUse(
                f"Another ranker (process {holder}) uses {path}. Stop it, or name another folder with"
                " BACKDROP_RANKER_STORE_PATH."
            ) from error
        lock.truncate(0)
        lock.write(str(owner or os.getpid()))
        lock.flush()
        yield


def make_shard(path: Path, space: VectorSpace, create: Callable[[Path], None]) -> None:
    """Makes an empty store in an owned folder, unless there is one.

    Args:
        path: the store's folder.
        space: of the vectors that it will hold.
        create: makes the shard in the folder that it is given, flushes it to the disk and closes it.

    Raises:
        StoreNotWritable: the disk is full, or the folder cannot be written.
    """
    if (path / "data").exists():
        return
    unfinished = path / "data.unfinished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        (unfinished / "shard").mkdir(parents=True)
        (unfinished / "space.json").write_text(json.dumps(asdict(space)))
        create(unfinished / "shard")
        for written in (unfinished / "space.json", unfinished):
            _sync(written)
        unfinished.rename(path / "data")
        _sync(path)
    except OSError as error:
        raise StoreNotWritable(f"The ranker cannot make its store in {path} ({error.strerror}).") from error


def require_room(path: Path, min_free_mib: int) -> None:
    """Raises `StoreFull` when the disk of an owned folder has less left: the engine does not survive a full one."""
    free_mib = shutil.disk_usage(path).free >> 20
    if free_mib < min_free_mib:
        raise StoreFull(
            f"The disk of {path} has {free_mib} MiB left, and the ranker keeps {min_free_mib} MiB free: nothing more is"
            " stored. Make room, or lower BACKDROP_RANKER_STORE_MIN_FREE_MIB."
        )


def stored_space(path: Path) -> VectorSpace:
    """The space of the vectors in the folder.

    Raises:
        StoreDamaged: it cannot be read.
    """
    try:
        return VectorSpace(**json.loads((path / "data" / "space.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise damaged(path) from error


def damaged(path: Path) -> StoreDamaged:
    """The error for a folder that holds something else than a whole store."""
    return StoreDamaged(
        f"The store in {path} is damaged. Restore the folder from a backup; or delete it, start the ranker and import"
        " the backgrounds again."
    )


def _sync(path: Path) -> None:
    """Has a file or the entries of a folder survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
