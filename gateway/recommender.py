"""One recommendation: features, captions, grounding, ranking, reasons, previews."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from prometheus_client import Counter

from chassis.deadlines import Deadline
from chassis.errors import BackdropError
from gateway import reasons
from gateway.captioning import CaptionWriter, degradation
from gateway.domain import (
    Background,
    Candidate,
    Degradation,
    Embedding,
    Reading,
    Recommendation,
    Signal,
    Step,
    Subject,
    Wish,
)
from gateway.peers.captioner import Captioner
from gateway.peers.ranker import Ranker
from gateway.photo_cache import Photo, PhotoCache
from gateway.previewing import Previewer
from gateway.stopwatch import Stopwatch

RECOMMENDATIONS = Counter(
    "backdrop_gateway_recommendations", "Answers by their degraded parts, joined by +, or none.", ["degraded"]
)

FEATURES_SHARE = 0.5
EMBEDDING_SHARE = 0.5
RANKING_SHARE = 1.0


class Recommender:
    """Orchestrates one request over captioner, generator and ranker."""

    def __init__(
        self,
        captioner: Captioner,
        writer: CaptionWriter,
        ranker: Ranker,
        previewer: Previewer,
        cache: PhotoCache,
        candidate_count: int,
    ) -> None:
        self._captioner = captioner
        self._writer = writer
        self._ranker = ranker
        self._previewer = previewer
        self._cache = cache
        self._candidate_count = candidate_count

    async def recommend(self, image: bytes, wish: Wish, deadline: Deadline) -> AsyncGenerator[Step, None]:
        """The backgrounds of a library in which the product would look best, told stage by stage.

        Args:
            image: the encoded product photo.
            wish: what is asked for.
            deadline: is split over the stages.

        Raises:
            BackdropError: with the reason of the stage that could not be done without.
        """
        photo = Photo.of(image)
        shown: list[Background] = []
        degraded: set[str] = set()
        async with aclosing(self._answer(photo, wish, deadline)) as answering:
            async for step in answering:
                shown += (each.hit.background for each in step.recommendations)
                degraded |= {each.stage for each in step.degraded}
                yield step
        if wish.preview:
            async with aclosing(self._previewer.show(photo, shown, wish.preview, deadline)) as showing:
                async for step in showing:
                    degraded |= {each.stage for each in step.degraded}
                    yield step
        RECOMMENDATIONS.labels("+".join(sorted(degraded)) or "none").inc()

    async def _answer(self, photo: Photo, wish: Wish, deadline: Deadline) -> AsyncGenerator[Step, None]:
        etag = (await self._ranker.library(wish.library, deadline.share(RANKING_SHARE))).etag
        steps = self._cache.answer(photo, wish, etag)
        if steps:
            for step in steps:
                yield step
            return
        kept = []
        async with aclosing(self._work(photo, wish, deadline)) as working:
            async for step in working:
                kept.append(step)
                yield step
        self._cache.keep_answer(photo, wish, etag, kept)

    async def _work(self, photo: Photo, wish: Wish, deadline: Deadline) -> AsyncGenerator[Step, None]:
        reading, step = await self._read(photo, deadline)
        yield step
        scenes, step = await self._write(reading, wish.language, deadline)
        yield step
        yield await self._rank(reading, scenes, wish, deadline)

    async def _read(self, photo: Photo, deadline: Deadline) -> tuple[Reading, Step]:
        stopwatch = Stopwatch()
        with stopwatch.stage("features"):
            reading = self._cache.reading(photo)
            if reading is None:
                reading = await self._captioner.read(photo.image, Subject.PRODUCT, deadline.share(FEATURES_SHARE))
                self._cache.keep_reading(photo, reading)
        return reading, Step("features", reading=reading, stages_s=stopwatch.stages_s)

    async def _write(self, reading: Reading, language: str, deadline: Deadline) -> tuple[list[str], Step]:
        stopwatch = Stopwatch()
        captioned = await self._writer.write(
            reading, Subject.PRODUCT, self._candidate_count, language, deadline, stopwatch
        )
        step = Step(
            "captions",
            candidates=captioned.candidates,
            degraded=captioned.degraded,
            stages_s=stopwatch.stages_s,
            language_model=captioned.model,
        )
        return _distinct_scenes(captioned.used), step

    async def _rank(self, reading: Reading, scenes: Sequence[str], wish: Wish, deadline: Deadline) -> Step:
        stopwatch = Stopwatch()
        with stopwatch.stage("embedding"):
            embeddings, degraded = await self._embed(scenes, deadline)
        with stopwatch.stage("ranking"):
            ranking = await self._ranker.rank(wish, scenes, embeddings, reading, deadline.share(RANKING_SHARE))
        return Step(
            "ranking",
            recommendations=tuple(Recommendation(hit, reasons.explain(reading.features, hit)) for hit in ranking.hits),
            degraded=degraded or tuple(_unused(signal, reason) for signal, reason in ranking.unused),
            stages_s=stopwatch.stages_s,
            embedding_model=ranking.model,
            recommendation_id=ranking.recommendation_id,
            applied_rules=ranking.applied_rules,
            empty_reason=ranking.empty_reason,
        )

    async def _embed(
        self, scenes: Sequence[str], deadline: Deadline
    ) -> tuple[tuple[Embedding, ...], tuple[Degradation, ...]]:
        """The scenes as they are compared with pictures; none when the captioner fails, which degrades the answer."""
        try:
            return await self._captioner.embed_texts(scenes, deadline.share(EMBEDDING_SHARE)), ()
        except BackdropError as error:
            message = f"Scenes were not compared with pictures: {error.message}"
            return (), (degradation("signals", error.reason, message),)


def _unused(signal: Signal, reason: str) -> Degradation:
    return degradation("signals", "SIGNAL_UNUSED", f"The signal {signal} took no part. {reason}")


def _distinct_scenes(candidates: Sequence[Candidate]) -> list[str]:
    return list(dict.fromkeys(candidate.draft.scene for candidate in candidates))
