"""Puts the captioner together: starts the model, loads the taxonomies, warms up, and closes."""

import asyncio
import io
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import perf_counter

import cv2
import structlog
from PIL import Image

from backdrop.captioner.v1.captioner_pb2_grpc import add_CaptionerServiceServicer_to_server
from chassis.admission import Admission
from chassis.images.decoding import Limits
from chassis.server import Application
from services.captioner.batched_model import BatchedModel
from services.captioner.calibration_file import load_calibrations
from services.captioner.config import CaptionerConfig
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.features import PhotoReader
from services.captioner.model_worker import LoadModel, ModelWorker, load_configured_model
from services.captioner.servicer import SERVICE_NAME, CaptionerServicer
from services.captioner.taxonomy import load_taxonomies

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_application(
    config: CaptionerConfig, load: LoadModel = load_configured_model
) -> AsyncIterator[Application]:
    """Loads and warms what the captioner serves.

    Raises:
        BadTaxonomy: naming every problem of every file.
        BadCalibration: a file of calibrations is damaged.
        ModelNotLoaded: the model cannot be loaded.
    """
    started = perf_counter()
    status_changed = asyncio.Event()
    async with (
        ModelWorker(config, load, status_changed) as worker,
        open_reader(config, worker) as reader,
    ):
        await _warm_up(reader)
        log.info(
            "loaded",
            model=reader.card.name,
            runtime=reader.card.runtime,
            taxonomies=sorted(reader.taxonomies),
            load_s=round(perf_counter() - started, 2),
        )
        servicer = CaptionerServicer(reader)
        yield Application(
            {SERVICE_NAME: lambda server: add_CaptionerServiceServicer_to_server(servicer, server)},
            checks={"model": worker.check, "batching": reader.check},
            status_changed=status_changed,
        )


@asynccontextmanager
async def open_reader(config: CaptionerConfig, worker: ModelWorker) -> AsyncIterator[PhotoReader]:
    """A reader of photos as the configuration wants it, with the model of `worker`.

    Raises:
        BadTaxonomy: naming every problem of every file.
        BadCalibration: a file of calibrations is damaged.
    """
    # Photos are decoded in threads of our own, one each; OpenCV's would only get into each other's way.
    cv2.setNumThreads(1)
    async with BatchedModel(worker, config.max_batch, config.max_batch_wait_ms / 1000) as model:
        with ThreadPoolExecutor(config.decode_threads, thread_name_prefix="decoder") as executor:
            yield await PhotoReader.open(
                model,
                load_taxonomies(config.taxonomy_dir),
                load_calibrations(config.taxonomy_dir),
                EmbeddingCache(config.cache_dir),
                Limits(int(config.max_image_mib * 1024 * 1024), int(config.max_megapixels * 1_000_000)),
                Admission("captioner", config.max_pending),
                executor,
            )


async def _warm_up(reader: PhotoReader) -> None:
    """Reads a photo with each taxonomy, so that the first request is a fast one."""
    photo = Image.new("RGB", (640, 480), "white")
    photo.paste("firebrick", (240, 160, 400, 400))
    encoded = io.BytesIO()
    photo.save(encoded, "JPEG")
    for name in reader.taxonomies:
        features = await reader.read(encoded.getvalue(), name)
        await reader.score(features.embedding, ["a red box on a table"])
