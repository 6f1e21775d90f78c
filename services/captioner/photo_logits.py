"""What the captioner makes of many photos before it decides: logits of zero-shot categories, for calibration."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chassis.errors import InvalidArgument
from services.captioner.application import open_reader
from services.captioner.calibration import Logits
from services.captioner.category_readers import ZeroShotReader
from services.captioner.config import CaptionerConfig
from services.captioner.features import PhotoFeatures
from services.captioner.model_worker import ModelWorker, load_configured_model
from services.captioner.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class PhotoReadings:
    """What one model made of some photos.

    Attributes:
        model: its name.
        features: of each photo, as a client gets them.
        logits: for each zero-shot category, of shape (photos, labels), without any temperature.
    """

    model: str
    features: Sequence[PhotoFeatures]
    logits: Mapping[str, Logits]


def read_photos(
    paths: Sequence[Path], taxonomy: Taxonomy, config: CaptionerConfig, advance: Callable[[], None]
) -> PhotoReadings:
    """Reads each photo with the model that `config` names.

    Args:
        paths: of the photos.
        taxonomy: to read them against.
        config: of the captioner.
        advance: called after each photo.

    Raises:
        ModelNotLoaded: the model cannot be loaded.
        InvalidArgument: a file is no photo, or over a limit; the message names it.
    """
    return asyncio.run(_read_photos(paths, taxonomy, config, advance))


async def _read_photos(
    paths: Sequence[Path], taxonomy: Taxonomy, config: CaptionerConfig, advance: Callable[[], None]
) -> PhotoReadings:
    at_once = asyncio.Semaphore(config.max_batch)
    async with (
        ModelWorker(config, load_configured_model, asyncio.Event()) as worker,
        open_reader(config, worker) as reader,
    ):

        async def read(path: Path) -> PhotoFeatures:
            async with at_once:
                try:
                    features = await reader.read(path.read_bytes(), taxonomy.name)
                except InvalidArgument as error:
                    raise InvalidArgument(f"{path}: {error.message}") from error
                advance()
                return features

        features = await asyncio.gather(*map(read, paths))
        zero_shot = [
            (category.name, each)
            for category, each in reader.readers[taxonomy.name]
            if isinstance(each, ZeroShotReader)
        ]
        logits = {name: np.stack([each.logits(photo.embedding) for photo in features]) for name, each in zero_shot}
        return PhotoReadings(reader.card.name, features, logits)
