"""One recommendation: features, captions, grounding, ranking, reasons."""

from collections.abc import Sequence

from chassis.deadlines import Deadline
from chassis.errors import BackdropError
from gateway import reasons
from gateway.captioning import CaptionWriter, degradation
from gateway.domain import (
    Candidate,
    Degradation,
    Embedding,
    Recommendation,
    Recommended,
    Signal,
    Subject,
    Wish,
)
from gateway.peers import Captioner, Ranker
from gateway.stopwatch import Stopwatch

FEATURES_SHARE = 0.5
EMBEDDING_SHARE = 0.5
RANKING_SHARE = 1.0


class Recommender:
    """Orchestrates one request over captioner, generator and ranker."""

    def __init__(self, captioner: Captioner, writer: CaptionWriter, ranker: Ranker, candidate_count: int) -> None:
        self._captioner = captioner
        self._writer = writer
        self._ranker = ranker
        self._candidate_count = candidate_count

    async def recommend(self, image: bytes, wish: Wish, deadline: Deadline) -> Recommended:
        """The backgrounds of a library in which the product would look best.

        Args:
            image: the encoded product photo.
            wish: what is asked for.
            deadline: is split over the stages.

        Raises:
            BackdropError: with the reason of the stage that could not be done without.
        """
        stopwatch = Stopwatch()
        await self._ranker.require_library(wish.library, deadline.share(RANKING_SHARE))
        with stopwatch.stage("features"):
            reading = await self._captioner.read(image, Subject.PRODUCT, deadline.share(FEATURES_SHARE))
        captioned = await self._writer.write(
            reading, Subject.PRODUCT, self._candidate_count, wish.language, deadline, stopwatch
        )
        scenes = _distinct_scenes(captioned.used)
        with stopwatch.stage("embedding"):
            embeddings, degraded = await self._embed(scenes, deadline)
        with stopwatch.stage("ranking"):
            ranking = await self._ranker.rank(wish, scenes, embeddings, reading, deadline.share(RANKING_SHARE))
        if not degraded:
            degraded = tuple(_unused(signal, reason) for signal, reason in ranking.unused)
        recommendations = (Recommendation(hit, reasons.explain(reading.features, hit)) for hit in ranking.hits)
        return Recommended(
            reading=reading,
            candidates=captioned.candidates,
            recommendations=tuple(recommendations),
            degraded=(*captioned.degraded, *degraded),
            stages_s=stopwatch.stages_s,
            language_model=captioned.model,
            embedding_model=ranking.model,
            recommendation_id=ranking.recommendation_id,
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
