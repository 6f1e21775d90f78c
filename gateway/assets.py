"""Where the pictures of backgrounds are kept: a folder, or an object store by URL (obstore)."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from chassis.errors import FailedPrecondition, NotFound, Unavailable

log = structlog.get_logger(__name__)


class AssetsUnavailable(Unavailable):
    """The store of pictures does not answer."""

    reason = "ASSETS_UNAVAILABLE"


class AssetsUnusable(FailedPrecondition):
    """The store of pictures cannot be opened: a setting is wrong."""

    reason = "ASSETS_UNUSABLE"


class PictureMissing(NotFound):
    """The background is known, but its picture is not in the store."""

    reason = "PICTURE_NOT_FOUND"


def open_store(url: str) -> ObjectStore:
    """The store behind `url`: `s3://`, `gs://`, `az://`, or a folder, which is made when it is missing."""
    try:
        if "://" in url:
            return from_url(url)
        return LocalStore(Path(url).absolute(), mkdir=True)
    except (BaseError, OSError, ValueError) as error:
        raise AssetsUnusable(f"Cannot open the pictures' store {url}: {error}") from error


class Assets:
    """Pictures by the name of their background and the SHA-256 of their bytes.

    A new picture never overwrites the old one, so that a background and its picture always match, whenever a process
    dies; the old one is removed once the new one is in use.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, name: str, sha256: str, image: bytes) -> None:
        """Stores a picture of the background `name`."""
        with _available():
            await obstore.put_async(self._store, _path(name, sha256), image)

    async def get(self, name: str, sha256: str) -> bytes:
        """The picture's bytes; raises `PictureMissing`."""
        with _available():
            try:
                result = await obstore.get_async(self._store, _path(name, sha256))
                return bytes(await result.bytes_async())
            except FileNotFoundError as error:
                message = f"The picture of {name} is missing from the store; import it again with force."
                raise PictureMissing(message) from error

    async def discard(self, name: str, sha256: str) -> None:
        """Removes a picture that nothing uses any more. Where that fails it is left, which does no harm, and logged."""
        try:
            with _available(), suppress(FileNotFoundError):
                await obstore.delete_async(self._store, _path(name, sha256))
        except AssetsUnavailable:
            log.warning("picture_left", name=name, sha256=sha256)


def _path(name: str, sha256: str) -> str:
    return f"{name}/{sha256}"


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        raise AssetsUnavailable("The store of pictures does not answer; try again later.", retry_after_s=5) from error
