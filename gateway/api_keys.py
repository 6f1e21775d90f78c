"""API keys: who may use the gateway, and which libraries."""

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import limits
import structlog
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from chassis.errors import FailedPrecondition, PermissionDenied, ResourceExhausted, Unauthenticated

log = structlog.get_logger(__name__)

RELOAD_S = 1.0
"""A changed file is noticed within this time."""
_HEADERS = ("authorization", "x-api-key")


class ApiKeyMissing(Unauthenticated):
    """A call came without a key."""

    reason = "API_KEY_MISSING"


class ApiKeyUnknown(Unauthenticated):
    """A call came with a key that is none, or none any more."""

    reason = "API_KEY_UNKNOWN"


class LibraryForbidden(PermissionDenied):
    """The key is for other libraries; whether this one is there is not told."""

    reason = "LIBRARY_FORBIDDEN"


class RateLimited(ResourceExhausted):
    """The key has made as many calls as it may for now."""

    reason = "RATE_LIMITED"


class BadKeys(FailedPrecondition):
    """The file of keys cannot be read."""

    reason = "BAD_KEYS"


class ApiKey(BaseModel):
    """A line of the file: a key by its digest, so that whoever reads the file has no key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    libraries: tuple[str, ...] = Field(min_length=1)
    """Ids of libraries; `*` stands for any characters."""
    rate: str = ""
    """How many calls it may make of one gateway, such as `600/minute`; imported backgrounds count. Empty for any."""

    @field_validator("rate")
    @classmethod
    def _check_rate(cls, rate: str) -> str:
        if rate:
            limits.parse(rate)
        return rate

    def allows(self, library: str) -> bool:
        """Whether the key is for the library of that id."""
        return any(fnmatchcase(library, each) for each in self.libraries)


def new_key(key_id: str, libraries: Sequence[str], rate: str = "") -> tuple[str, ApiKey]:
    """A new key, which is told only once, and what the file keeps of it.

    Raises:
        ValidationError: the id is none, or the rate.
    """
    # 256 random bits: nothing to guess, so a plain digest is enough.
    key = f"bd_{secrets.token_urlsafe(32)}"
    return key, ApiKey(id=key_id, sha256=_digest(key), libraries=tuple(libraries), rate=rate)


def read_keys(path: Path) -> list[ApiKey]:
    """The keys of a file: a JSON object a line; none where there is no file.

    Raises:
        BadKeys: naming the line that is wrong.
    """
    try:
        lines = path.read_text().splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise BadKeys(f"Cannot read the keys of {path}: {error}") from error
    return [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def write_keys(path: Path, keys: Iterable[ApiKey]) -> None:
    """Replaces the file in one step, readable by its owner alone."""
    partial = path.with_name(f".{path.name}.partial")
    partial.touch(mode=0o600)
    partial.write_text("".join(each.model_dump_json() + "\n" for each in keys))
    partial.replace(path)


class Door:
    """Lets calls in by their keys; a file that changes is read again, so that keys come and go without a restart.

    Args:
        path: the file of keys; None lets everybody in.
        clock: gives seconds; injected by tests.

    Raises:
        BadKeys: the file cannot be read, or is not there.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked_s = clock()
        self._keys: dict[str, ApiKey] = {}
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._stamp: object = None
        if path is not None:
            self._stamp, self._keys = _stamp(path), _load(path)

    def authenticate(self, context: Any) -> ApiKey | None:
        """The key of a call; None where none is asked for. Its id is in the call's log lines from now on.

        Raises:
            ApiKeyMissing: there is none.
            ApiKeyUnknown: it is none of the file's.
        """
        if self._path is None:
            return None
        self._refresh(self._path)
        given = _given(context.invocation_metadata() or ())
        if not given:
            raise ApiKeyMissing("Send an API key: the header authorization with Bearer KEY, or x-api-key.")
        key = self._keys.get(_digest(given))
        if key is None:
            raise ApiKeyUnknown("The API key is unknown here, or has been revoked.")
        structlog.contextvars.bind_contextvars(api_key=key.id)
        return key

    def require(self, context: Any, name: str) -> None:
        """Lets the call at the library, or at what is in it.

        Args:
            context: of the call.
            name: such as `libraries/shop`, or `libraries/shop/backgrounds/oak`.

        Raises:
            ApiKeyMissing: as `authenticate`.
            ApiKeyUnknown: likewise.
            RateLimited: the key has made too many calls of late.
            LibraryForbidden: the key is for other libraries.
        """
        key = self.authenticate(context)
        if key is None:
            return
        self._count(key)
        library = name.split("/")[1]
        if not key.allows(library):
            raise LibraryForbidden(f"The API key {key.id} is not for libraries/{library}.")

    def _count(self, key: ApiKey) -> None:
        if not key.rate:
            return
        rate = limits.parse(key.rate)
        if not self._limiter.hit(rate, key.id):
            wait_s = self._limiter.get_window_stats(rate, key.id).reset_time - time.time()
            raise RateLimited(f"The API key {key.id} may make {key.rate} calls.", retry_after_s=max(0.1, wait_s))

    def _refresh(self, path: Path) -> None:
        if self._clock() - self._looked_s < RELOAD_S:
            return
        self._looked_s = self._clock()
        stamp = _stamp(path)
        if stamp == self._stamp:
            return
        try:
            self._keys = _load(path)
        # Who was let in before still is, until the file is mended.
        except BadKeys as error:
            log.error("keys_not_read", error=error.message)
            return
        self._stamp = stamp
        log.info("keys_read", count=len(self._keys))


def _given(metadata: Iterable[tuple[str, Any]]) -> str:
    for name, value in metadata:
        if name.lower() in _HEADERS:
            return str(value).removeprefix("Bearer ").strip()
    return ""


def _load(path: Path) -> dict[str, ApiKey]:
    """The keys of a file by their digests; it has to be there."""
    if not path.exists():
        raise BadKeys(f"There is no {path}: run backdrop keys create NAME --library ID --file {path}")
    return {each.sha256: each for each in read_keys(path)}


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _parse(line: str, place: str) -> ApiKey:
    try:
        return ApiKey.model_validate(json.loads(line))
    except ValidationError as error:
        problems = "; ".join(f"{each['loc'][0] if each['loc'] else 'line'}: {each['msg']}" for each in error.errors())
        raise BadKeys(f"{place}: {problems}") from error
    except ValueError as error:
        raise BadKeys(f"{place}: is not a JSON object") from error
