"""Loads the image-text model that the configuration names. Only the model's own process imports this."""

from collections.abc import Iterable
from time import perf_counter

import numpy as np
import structlog

from chassis.networks.runtimes import Computing, choose_runtime
from services.captioner.config import CaptionerConfig
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.image_text_model import ImageTextModel

log = structlog.get_logger(__name__)


def open_model(config: CaptionerConfig) -> ImageTextModel:
    """The model that the configuration names, loaded and warm.

    Raises:
        ModelNotLoaded: with what is wrong, such as an unknown tag or a missing checkpoint.
        BackdropError: whatever the model raises on its first work.
    """
    started = perf_counter()
    model = load_model(config)
    loaded = perf_counter()
    warm_up(model, (1, config.max_batch))
    log.info(
        "model_loaded",
        model=model.card.name,
        runtime=model.card.runtime,
        load_s=round(loaded - started, 2),
        warm_up_s=round(perf_counter() - loaded, 2),
    )
    return model


def load_model(config: CaptionerConfig) -> ImageTextModel:
    """Loads the model that the configuration names.

    Raises:
        ModelNotLoaded: with what is wrong, such as an unknown tag or a missing checkpoint.
    """
    runtime = choose_runtime(
        Computing(config.device, config.runtime, config.precision, config.threads, config.cache_dir, config.compiles)
    )
    # Imported here because each model brings libraries that take seconds to import and that the other does not need.
    if config.model == "conse":
        from services.captioner.conse import load_conse

        return load_conse(runtime, EmbeddingCache(config.cache_dir))
    from services.captioner.open_clip_model import load_open_clip

    return load_open_clip(config.model.removeprefix("open_clip:"), runtime)


def warm_up(model: ImageTextModel, batch_sizes: Iterable[int]) -> None:
    """Has the model compute batches of these sizes once, since the first of a kind is slow.

    Raises:
        BackdropError: whatever the model raises; it should not be served then.
    """
    shape = (model.card.image_input.height, model.card.image_input.width, 3)
    # The largest first, so that memory for it is found or missed at the start.
    for size in sorted(set(batch_sizes), reverse=True):
        model.encode_images(np.full((size, *shape), 127, dtype=np.uint8))
        model.encode_texts(["a photo"] * size)
