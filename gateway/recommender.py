"""One recommendation: features, captions, grounding, ranking, reasons."""

from collections.abc import Sequence

from chassis.deadlines import Deadline
from gateway import reasons
from gateway.captioning import CaptionWriter
from gateway.domain import Candidate, Filter, Recommendation, Recommended, Subject
from gateway.peers import Captioner, Ranker
from gateway.stopwatch import Stopwatch

FEATURES_SHARE = 0.5
RANKING_SHARE = 1.0


class Recommender:
    """Orchestrates one request over captioner, generator and ranker."""

    def __init__(self, captioner: Captioner, writer: CaptionWriter, ranker: Ranker, candidate_count: int) -> None:
        self._captioner = captioner
        self._writer = writer
        self._ranker = ranker
        self._candidate_count = candidate_count

    async def recommend(
        self, image: bytes, library: str, filters: Sequence[Filter], limit: int, language: str, deadline: Deadline
    ) -> Recommended:
        """The backgrounds of `library` in which the product would look best.

        Args:
            image: the encoded product photo.
            library: `libraries/{library}`.
            filters: which backgrounds to consider; all must hold.
            limit: the most backgrounds to return.
            language: BCP 47 tag that captions are written in.
            deadline: is split over the stages.

        Raises:
            BackdropError: with the reason of the stage that could not be done without.
        """
        stopwatch = Stopwatch()
        await self._ranker.require_library(library, deadline.share(RANKING_SHARE))
        with stopwatch.stage("features"):
            reading = await self._captioner.read(image, Subject.PRODUCT, deadline.share(FEATURES_SHARE))
        captioned = await self._writer.write(
            reading, Subject.PRODUCT, self._candidate_count, language, deadline, stopwatch
        )
        with stopwatch.stage("ranking"):
            scenes = _distinct_scenes(captioned.used)
            ranking = await self._ranker.rank(library, scenes, filters, limit, deadline.share(RANKING_SHARE))
        recommendations = (Recommendation(hit, reasons.explain(reading.features, hit)) for hit in ranking.hits)
        return Recommended(
            reading=reading,
            candidates=captioned.candidates,
            recommendations=tuple(recommendations),
            degraded=captioned.degraded,
            stages_s=stopwatch.stages_s,
            language_model=captioned.model,
            embedding_model=ranking.model,
        )


def _distinct_scenes(candidates: Sequence[Candidate]) -> list[str]:
    return list(dict.fromkeys(candidate.draft.scene for candidate in candidates))
