"""The captioner and the language model as a worker of a job has them: the services' own code, in this process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from chassis.errors import Unavailable
from gateway.captioning import CaptionWriter, LanguageModel
from gateway.domain import Drafts, Feature, Reading, Subject
from gateway.looking import PictureLooker
from gateway.peers.captioner import to_reading
from gateway.peers.generator import Generator
from services.captioner.application import open_reader
from services.captioner.config import CaptionerConfig
from services.captioner.features import PhotoReader
from services.captioner.model_worker import ModelWorker, load_configured_model
from services.captioner.servicer import features_response


class NoGenerator(Unavailable):
    """The job was given no generator: templates write the captions."""

    reason = "NO_GENERATOR"


class LocalCaptioner:
    """The captioner's reader, asked as the captioner is asked over gRPC; what it says goes through the contract."""

    def __init__(self, reader: PhotoReader) -> None:
        self._reader = reader

    async def read(self, image: bytes, subject: Subject, timeout_s: float) -> Reading:
        """What the encoded photo shows, read against the subject's taxonomy."""
        photo = await self._reader.read(image, subject.value, deadline=_deadline(timeout_s))
        return to_reading(features_response(self._reader.card.name, photo))

    async def score(self, reading: Reading, texts: Sequence[str], timeout_s: float) -> tuple[float, ...]:
        """The cosine of the photo with each of n texts, n of them, -1 to 1."""
        embedding = self._reader.check_embedding(reading.embedding, reading.model)
        return (await self._reader.score(embedding, texts, _deadline(timeout_s))).scores


class _NoGenerator:
    async def write(
        self, features: Sequence[Feature], subject: Subject, count: int, language: str, timeout_s: float
    ) -> Drafts:
        raise NoGenerator("The bulk job was given no generator.")


@asynccontextmanager
async def open_looker(
    config: CaptionerConfig, generator_target: str | None, grounding_margin: float
) -> AsyncIterator[PictureLooker]:
    """Loads the captioner's model; captions are written by the generator at the target, or by templates.

    Raises:
        ModelNotLoaded: the model cannot be loaded.
        BadTaxonomy: naming every problem of every file.
    """
    async with (
        ModelWorker(config, load_configured_model, asyncio.Event()) as worker,
        open_reader(config, worker) as reader,
    ):
        captioner = LocalCaptioner(reader)
        if generator_target is None:
            yield _looker(_NoGenerator(), captioner, grounding_margin)
            return
        async with Generator.connect(generator_target) as generator:
            yield _looker(generator, captioner, grounding_margin)


def _looker(generator: LanguageModel, captioner: LocalCaptioner, margin: float) -> PictureLooker:
    return PictureLooker(captioner, CaptionWriter(generator, captioner, margin))


def _deadline(timeout_s: float) -> float:
    return asyncio.get_running_loop().time() + timeout_s
