"""The pictures of a folder or an object store: listed page by page, and read one at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url
from PIL import Image

from chassis.errors import FailedPrecondition, Unavailable
from gateway.cli.client import MAX_IMAGE_BYTES
from gateway.cli.importing import to_background_id, to_request
from gateway.cli.manifest import Metadata

PAGE, PAGE_BYTES = 16, 32 * 2**20
"""Pictures that travel together: a batch of the model, and fewer of large ones, as several pages are under way."""


class SourceUnusable(FailedPrecondition):
    """The pictures cannot be listed: the folder is missing, or the URL or its credentials are wrong."""

    reason = "SOURCE_UNUSABLE"


class PictureUnreadable(Unavailable):
    """A picture cannot be read from where it lies."""

    reason = "PICTURE_UNREADABLE"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was found.

    Attributes:
        file: its path within the source.
        request: an `ImportBackgroundsRequest` without the picture, as bytes; empty when it cannot be imported.
        error: why it cannot be.
    """

    file: str
    request: bytes = b""
    error: str = ""


def open_source(url: str) -> ObjectStore:
    """The store behind `url`: `s3://`, `gs://`, `az://`, or a folder; raises `SourceUnusable`."""
    try:
        return from_url(url) if "://" in url else LocalStore(Path(url).absolute())
    except (BaseError, OSError, ValueError) as error:
        raise SourceUnusable(f"Cannot open {url}: {error}") from error


def list_files(url: str) -> Iterator[list[tuple[str, int]]]:
    """Paths and sizes in bytes of all pictures, in pages; raises `SourceUnusable`."""
    endings = tuple(Image.registered_extensions())
    try:
        for listed in obstore.list(open_source(url), chunk_size=PAGE):
            yield from _pages([(each["path"], each["size"]) for each in listed if _is_picture(each["path"], endings)])
    except (BaseError, OSError) as error:
        raise SourceUnusable(f"Cannot list {url}: {error}") from error


def find_pictures(url: str, parent: str, metadata: Mapping[str, Metadata], *, force: bool) -> Iterator[list[Picture]]:
    """All pictures as they are to be imported into the library `parent`, in pages.

    Of two pictures that would have the same id, the one that is found second is an error of its own.
    """
    # Eight bytes for each picture, not its name: there may be millions.
    seen: set[int] = set()
    for page in list_files(url):
        yield [_to_picture(file, size, parent, metadata, seen, force=force) for file, size in page]


async def read_picture(store: ObjectStore, file: str) -> bytes:
    """A picture's bytes; raises `PictureUnreadable`."""
    try:
        result = await obstore.get_async(store, file)
        return bytes(await result.bytes_async())
    except (BaseError, OSError) as error:
        raise PictureUnreadable(f"Cannot read it: {error}") from error


def _pages(files: list[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    """The files in their order, no more of them together than `PAGE_BYTES` allow, or one."""
    page: list[tuple[str, int]] = []
    for file, size in files:
        if page and sum(each for _, each in page) + size > PAGE_BYTES:
            yield page
            page = []
        page.append((file, size))
    yield page


def _is_picture(path: str, endings: tuple[str, ...]) -> bool:
    return path.lower().endswith(endings) and not PurePosixPath(path).name.startswith(".")


def _to_picture(
    file: str, size: int, parent: str, metadata: Mapping[str, Metadata], seen: set[int], *, force: bool
) -> Picture:
    path = PurePosixPath(file)
    background_id = to_background_id(path.stem)
    if hash(background_id) in seen:
        return Picture(file, error=f"Another picture has the id {background_id} as well: rename one of them.")
    seen.add(hash(background_id))
    if size > MAX_IMAGE_BYTES:
        return Picture(file, error=f"It has {size / 2**20:.0f} MiB, and 32 MiB are allowed: make it smaller.")
    try:
        request = to_request(f"{parent}/backgrounds/{background_id}", metadata.get(path.name, Metadata()), force=force)
    except (ValueError, OverflowError) as error:
        return Picture(file, error=f"What the manifest says of it cannot be sent: {error}.")
    return Picture(file, request.SerializeToString())
