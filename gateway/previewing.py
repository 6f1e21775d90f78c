"""Previews: the product of a photo in backgrounds of the library."""

from collections.abc import AsyncGenerator, Sequence

from aiostream import Stream, stream

from chassis.deadlines import Deadline
from chassis.errors import BackdropError
from gateway.assets import Assets
from gateway.captioning import degradation
from gateway.domain import Background, Preview, PreviewForm, PreviewWish, Step
from gateway.peers.compositor import Compositor
from gateway.photo_cache import Photo, PhotoCache
from gateway.stopwatch import Stopwatch

PREVIEWS_SHARE = 0.8
"""Of the time that is left, what a preview beside an answer may take; the rest is for telling the answer."""
AT_ONCE = 4
"""Previews of one request that are in work at the same time."""


class Previewer:
    """Asks the compositor for previews, and remembers them."""

    def __init__(self, compositor: Compositor, assets: Assets, cache: PhotoCache) -> None:
        self._compositor = compositor
        self._assets = assets
        self._cache = cache

    async def render(self, photo: Photo, background: Background | None, form: PreviewForm, timeout_s: float) -> Preview:
        """One preview; without a background, on white.

        Raises:
            BackdropError: the picture is lost, the photo shows no product, or the compositor does not answer.
        """
        name, sha256 = (background.name, background.sha256) if background else ("", "")
        remembered = self._cache.preview(photo, name, sha256, form)
        if remembered:
            return remembered
        picture = await self._assets.get(name, sha256) if background else b""
        preview = await self._compositor.render(photo.image, name, picture, form, timeout_s)
        self._cache.keep_preview(photo, sha256, form, preview)
        return preview

    async def show(
        self, photo: Photo, backgrounds: Sequence[Background], wish: PreviewWish, deadline: Deadline
    ) -> AsyncGenerator[Step, None]:
        """Previews of the first backgrounds, each as soon as it and those before it are rendered; then how it went.

        One that fails does not fail the call: it is left out, and the last step says so, once for each reason.
        """
        failed: dict[str, BackdropError] = {}
        stopwatch = Stopwatch()

        async def attempt(background: Background, *_: Background) -> Preview | None:
            try:
                return await self.render(photo, background, wish.form, deadline.share(PREVIEWS_SHARE))
            except BackdropError as error:
                failed.setdefault(error.reason, error)
                return None

        rendered: Stream[Preview | None] = stream.map(
            stream.iterate(backgrounds[: wish.count]), attempt, ordered=True, task_limit=AT_ONCE
        )
        with stopwatch.stage("previews"):
            async with rendered.stream() as previews:
                async for preview in previews:
                    if preview:
                        yield Step("previews", previews=(preview,))
        degraded = tuple(
            degradation("previews", reason, f"A preview is missing: {error.message}")
            for reason, error in failed.items()
        )
        yield Step("previews", degraded=degraded, stages_s=stopwatch.stages_s)
