"""Cuts out and renders for many callers at once: in threads, each photo's cut-out once. No gRPC."""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import numpy as np
from cachetools import LRUCache
from prometheus_client import Counter, Histogram

from chassis.admission import Admission
from chassis.coalescing import Coalescing
from chassis.deadlines import Deadline
from chassis.images.decoding import Limits, decode
from chassis.tracing import span
from services.compositor.cut_out import DECODED_SIDE_PX, CutOut, cut_out
from services.compositor.encoding import Format, encode
from services.compositor.errors import CutOutTimeout
from services.compositor.placement import Preset
from services.compositor.preview import Preview, render

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
CUT_OUT_SECONDS = Histogram("backdrop_compositor_cut_out_seconds", "Decoding and cutting out.", buckets=_BUCKETS)
RENDER_SECONDS = Histogram("backdrop_compositor_render_seconds", "Rendering and encoding.", buckets=_BUCKETS)
CUT_OUT_LOOKUPS = Counter(
    "backdrop_compositor_cut_out_lookups", "Cut-outs by whether they were remembered.", ["result"]
)
ROUGH = Counter("backdrop_compositor_rough_cut_outs", "Cut-outs of which a person should look at the previews.")

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class FoundCutOut:
    """A cut-out, what it took in seconds with waiting, and whether it was remembered or shared."""

    cut_out: CutOut
    took_s: float
    cached: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """An encoded preview, and what rendering took in seconds without waiting."""

    preview: Preview
    encoded: bytes
    found: FoundCutOut
    took_s: float


class Compositor:
    """Renders previews. Its methods belong to one event loop, and never block it.

    Args:
        executor: the threads that pictures are worked on in; what a caller who has gone was waiting for never begins.
        limits: on photos.
        admission: of requests.
        cache_bytes: for cut-outs; 0 remembers none.
        timeout_s: for a cut-out.
    """

    def __init__(
        self, executor: Executor, limits: Limits, admission: Admission, cache_bytes: int, timeout_s: float
    ) -> None:
        self._executor = executor
        self._limits = limits
        self._admission = admission
        self._timeout_s = timeout_s
        self._cut_outs: LRUCache[bytes, CutOut] = LRUCache(cache_bytes, getsizeof=lambda each: each.nbytes)
        self._coalescing: Coalescing[CutOut] = Coalescing("compositor")

    async def cut_out(self, photo: bytes, deadline_s: float | None = None) -> tuple[FoundCutOut, bytes]:
        """Cuts a product out, and encodes it as a PNG with alpha.

        Args:
            photo: encoded.
            deadline_s: until when the caller waits, in seconds from now.

        Raises:
            InvalidArgument: the photo cannot be read; CutOutFailed: it shows no product.
            CutOutTimeout: the deadline passed.
            QueueFull: too many requests are pending.
        """
        with self._admission.admit():
            found = await self._find(photo, deadline_s)
            pixels = np.dstack([found.cut_out.color, found.cut_out.alpha])
            return found, await self._in_thread(lambda: encode(pixels, Format.PNG))

    async def render(
        self,
        photo: bytes,
        background: bytes,
        preset: Preset,
        longer_px: int,
        form: Format,
        deadline_s: float | None = None,
    ) -> Rendered:
        """Renders a preview.

        Args:
            photo: of the product, encoded.
            background: encoded; not looked at for marketplaces.
            preset: the preview's shape.
            longer_px: its longer side in pixels.
            form: how it is encoded.
            deadline_s: until when the caller waits, in seconds from now.

        Raises:
            InvalidArgument, CutOutTimeout, QueueFull: as `cut_out` does; the background, too, can be unreadable.
        """
        with self._admission.admit():
            found = await self._find(photo, deadline_s)

            def work() -> Rendered:
                started = perf_counter()
                pixels = None if preset is Preset.MARKETPLACE else self._read_background(background, longer_px)
                preview = render(found.cut_out, pixels, preset, longer_px)
                encoded = encode(preview.pixels, form)
                return Rendered(preview, encoded, found, perf_counter() - started)

            with span("render"):
                rendered = await self._in_thread(work)
            RENDER_SECONDS.observe(rendered.took_s)
            return rendered

    async def _find(self, photo: bytes, deadline_s: float | None) -> FoundCutOut:
        started = perf_counter()
        # Hashing megabytes would hold up the event loop, and need not wait for a picture's turn.
        key = await asyncio.to_thread(lambda: hashlib.sha256(photo).digest())
        remembered = self._cut_outs.get(key)
        CUT_OUT_LOOKUPS.labels("miss" if remembered is None else "hit").inc()
        if remembered is not None:
            return FoundCutOut(remembered, perf_counter() - started, cached=True)

        async def work(_: Deadline) -> CutOut:
            with span("cut out"):
                made = await self._in_thread(lambda: self._make(photo))
            self._remember(key, made)
            return made

        wait_s = self._timeout_s if deadline_s is None else min(self._timeout_s, deadline_s)
        try:
            made, joined = await self._coalescing.join(key, work, Deadline(wait_s))
        except TimeoutError as error:
            raise CutOutTimeout("The product was not cut out in time; allow a longer deadline.") from error
        return FoundCutOut(made, perf_counter() - started, cached=joined)

    def _make(self, photo: bytes) -> CutOut:
        with CUT_OUT_SECONDS.time():
            made = cut_out(decode(photo, self._limits, DECODED_SIDE_PX, field="image"))
        if made.quality.rough:
            ROUGH.inc()
        return made

    def _remember(self, key: bytes, made: CutOut) -> None:
        # A cache raises on what is larger than itself.
        if made.nbytes <= self._cut_outs.maxsize:
            self._cut_outs[key] = made

    def _read_background(self, background: bytes, longer_px: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.asarray(decode(background, self._limits, longer_px, field="background_image").image)

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
