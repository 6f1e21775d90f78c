"""Puts the captioner together: loads the model and the taxonomies, warms up, and closes."""

import asyncio
import io
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import perf_counter

import structlog
from PIL import Image

from backdrop.captioner.v1.captioner_pb2_grpc import add_CaptionerServiceServicer_to_server
from chassis.server import Application
from services.captioner.config import CaptionerConfig
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.features import PhotoReader
from services.captioner.image_decoding import Limits
from services.captioner.image_text_model import load_model
from services.captioner.servicer import SERVICE_NAME, CaptionerServicer
from services.captioner.taxonomy import load_taxonomies

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_application(config: CaptionerConfig) -> AsyncIterator[Application]:
    """Loads and warms what the captioner serves.

    Raises:
        BadTaxonomy: naming every problem of every file.
        ModelNotLoaded: the model cannot be loaded.
    """
    executor = ThreadPoolExecutor(config.workers, thread_name_prefix="reader")
    try:
        reader = await asyncio.get_running_loop().run_in_executor(executor, open_reader, config)
        servicer = CaptionerServicer(reader, executor)
        yield Application({SERVICE_NAME: lambda server: add_CaptionerServiceServicer_to_server(servicer, server)})
    finally:
        executor.shutdown(cancel_futures=True)


def open_reader(config: CaptionerConfig) -> PhotoReader:
    """Loads the model and the taxonomies and reads a photo with each, so that the first request is a fast one."""
    started = perf_counter()
    taxonomies = load_taxonomies(config.taxonomy_dir)
    model = load_model(config)
    limits = Limits(int(config.max_image_mib * 1024 * 1024), int(config.max_megapixels * 1_000_000))
    reader = PhotoReader(model, taxonomies, EmbeddingCache(config.cache_dir), limits)
    loaded = perf_counter()
    _warm_up(reader)
    log.info(
        "loaded",
        model=model.name,
        taxonomies=sorted(taxonomies),
        load_s=round(loaded - started, 2),
        warm_up_s=round(perf_counter() - loaded, 2),
    )
    return reader


def _warm_up(reader: PhotoReader) -> None:
    photo = Image.new("RGB", (640, 480), "white")
    photo.paste("firebrick", (240, 160, 400, 400))
    encoded = io.BytesIO()
    photo.save(encoded, "JPEG")
    for name in reader.taxonomies:
        features = reader.read(encoded.getvalue(), name)
    reader.score(features.embedding, ["a red box on a table"])
