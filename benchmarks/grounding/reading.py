"""What the captioner reads in photos: what it is sure of, and its guess where it is not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway import templates
from gateway.captioning import NAMING_CATEGORIES
from gateway.domain import Feature, Label, Subject
from services.captioner.application import open_reader
from services.captioner.config import CaptionerConfig
from services.captioner.features import PhotoFeatures, PhotoReader
from services.captioner.image_text_model import Embedding
from services.captioner.model_worker import ModelWorker, load_configured_model
from services.generator.prompt import Features

TAXONOMY = "product"


@dataclass(frozen=True)
class Reading:
    """What was read in a photo.

    Attributes:
        sure: the labels that are sure.
        guessed: the same, and for each other category the best label.
        template: the caption that holds nothing but what is sure.
        says_what_it_shows: whether what the photo shows is among what is sure; else no language model is asked.
        embedding: of the photo.
    """

    sure: Features
    guessed: Features
    template: str
    says_what_it_shows: bool
    embedding: Embedding


@asynccontextmanager
async def open_captioner(config: CaptionerConfig) -> AsyncIterator[PhotoReader]:
    """The captioner's model and taxonomies, in this process."""
    async with (
        ModelWorker(config, load_configured_model, asyncio.Event()) as worker,
        open_reader(config, worker) as reader,
    ):
        yield reader


async def read_photos(reader: PhotoReader, paths: Iterable[Path], advance: Callable[[], None]) -> list[Reading]:
    """Reads each photo twice: the second time the captioner has to be sure of nothing."""
    images = [path.read_bytes() for path in paths]
    sure = [await _read(reader, image, advance) for image in images]
    for _, each in reader.readers[TAXONOMY]:
        each.min_confidence = each.min_margin = 0.0
    guessed = [await _read(reader, image, advance) for image in images]
    return [_reading(*both) for both in zip(sure, guessed, strict=True)]


async def _read(reader: PhotoReader, image: bytes, advance: Callable[[], None]) -> PhotoFeatures:
    features = await reader.read(image, TAXONOMY)
    advance()
    return features


def _reading(photo: PhotoFeatures, guessed: PhotoFeatures) -> Reading:
    sure, best = _labels(photo), _labels(guessed)
    features = [
        Feature(name, tuple(Label(each, 1.0, 1.0) for each in labels), unsure=not labels)
        for name, labels in sure.items()
    ]
    return Reading(
        [(name, labels) for name, labels in sure.items() if labels],
        [(name, labels or best[name][:1]) for name, labels in sure.items() if labels or best[name]],
        templates.write(features, Subject.PRODUCT).caption,
        any(sure[name] for name in NAMING_CATEGORIES[Subject.PRODUCT]),
        photo.embedding,
    )


def _labels(photo: PhotoFeatures) -> dict[str, Sequence[str]]:
    return {each.category.name: [label.name for label in each.labels] for each in photo.features}
