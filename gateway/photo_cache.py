"""What the gateway remembers of photos, by their content: what was read from them, whole answers, and previews."""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256

from cachetools import TTLCache
from prometheus_client import Counter

from gateway.domain import Preview, PreviewForm, Reading, Step, Wish

LOOKUPS = Counter("backdrop_gateway_cache_lookups", "Looks for what is remembered.", ["what", "found"])


@dataclass(frozen=True, slots=True)
class Photo:
    """An encoded product photo, and its SHA-256 in hexadecimal."""

    image: bytes
    sha256: str

    @classmethod
    def of(cls, image: bytes) -> "Photo":
        """The photo of these bytes."""
        return cls(image, sha256(image).hexdigest())


class PhotoCache:
    """The latest readings and answers, so many of each, and the latest previews, for a limited time.

    Answers belong to the state that their library was in, and only such are kept as nothing was degraded in.

    Args:
        size: readings, and answers, that are kept; 0 for none.
        ttl_s: seconds that they are kept.
        preview_bytes: memory for previews; 0 for none.
        clock: gives seconds; injected by tests.
    """

    def __init__(
        self, size: int, ttl_s: float, preview_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._readings: TTLCache[str, Reading] = TTLCache(size, ttl_s, clock)
        self._answers: TTLCache[Hashable, tuple[Step, ...]] = TTLCache(size, ttl_s, clock)
        self._previews: TTLCache[Hashable, Preview] = TTLCache(
            preview_bytes, ttl_s, clock, getsizeof=lambda preview: len(preview.image)
        )

    def reading(self, photo: Photo) -> Reading | None:
        """What was read from the photo."""
        found = self._readings.get(photo.sha256)
        LOOKUPS.labels("reading", found is not None).inc()
        return found

    def keep_reading(self, photo: Photo, reading: Reading) -> None:
        """Remembers what was read."""
        if self._readings.maxsize:
            self._readings[photo.sha256] = reading

    def preview(self, photo: Photo, background: str, picture: str, form: PreviewForm) -> Preview | None:
        """The preview of the photo in the background of that name, whose picture has the SHA-256 `picture`."""
        found = self._previews.get((photo.sha256, background, picture, form))
        LOOKUPS.labels("preview", found is not None).inc()
        return found

    def keep_preview(self, photo: Photo, picture: str, form: PreviewForm, preview: Preview) -> None:
        """Remembers a preview in the background whose picture has the SHA-256 `picture`."""
        # A cache raises on what is larger than itself.
        if len(preview.image) <= self._previews.maxsize:
            self._previews[photo.sha256, preview.background, picture, form] = preview

    def answer(self, photo: Photo, wish: Wish, etag: str) -> tuple[Step, ...]:
        """The answer to the same wish for the same photo, from a library in the same state; empty where there is none.

        Args:
            photo: the photo.
            wish: what is asked for.
            etag: the library's state; empty where it cannot be told.
        """
        key = _key(photo, wish, etag)
        found = self._answers.get(key, ()) if etag else ()
        if _has_expired(found):
            del self._answers[key]
            found = ()
        LOOKUPS.labels("answer", bool(found)).inc()
        return found

    def keep_answer(self, photo: Photo, wish: Wish, etag: str, steps: Sequence[Step]) -> None:
        """Remembers an answer in which nothing was degraded."""
        if not etag or not self._answers.maxsize or any(step.degraded for step in steps):
            return
        first, *others = steps
        self._answers[_key(photo, wish, etag)] = (
            replace(first, stages_s={"remembered": 0.0}),
            *(replace(each, stages_s={}) for each in others),
        )


def _key(photo: Photo, wish: Wish, etag: str) -> Hashable:
    weights = tuple(sorted(wish.weights.items()))
    return photo.sha256, etag, wish.library, wish.conditions, wish.limit, wish.language, wish.diversity, weights


def _has_expired(steps: Sequence[Step]) -> bool:
    """The licence of a background has ended since."""
    now = datetime.now(UTC)
    ends = (each.hit.background.expire_time for step in steps for each in step.recommendations)
    return any(end is not None and end <= now for end in ends)
