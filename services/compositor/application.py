"""Puts the compositor together: starts its threads, warms up, and closes."""

import io
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import perf_counter

import cv2
import structlog
from PIL import Image

from backdrop.compositor.v1.compositor_pb2_grpc import add_CompositorServiceServicer_to_server
from chassis.admission import Admission
from chassis.images.decoding import Limits
from chassis.server import Application
from services.compositor.compositor import Compositor
from services.compositor.config import CompositorConfig
from services.compositor.encoding import Format
from services.compositor.placement import Preset
from services.compositor.servicer import SERVICE_NAME, CompositorServicer

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_application(config: CompositorConfig) -> AsyncIterator[Application]:
    """Warms what the compositor serves."""
    started = perf_counter()
    async with open_compositor(config) as compositor:
        await _warm_up(compositor)
        log.info("warm", threads=config.threads, warm_up_s=round(perf_counter() - started, 2))
        servicer = CompositorServicer(compositor)
        yield Application(
            {SERVICE_NAME: lambda server: add_CompositorServiceServicer_to_server(servicer, server)},
        )


@asynccontextmanager
async def open_compositor(config: CompositorConfig) -> AsyncIterator[Compositor]:
    """A compositor as the configuration wants it, with threads of its own."""
    # Pictures are worked on side by side, a thread each; OpenCV's own threads would only get into each other's way.
    cv2.setNumThreads(1)
    executor = ThreadPoolExecutor(config.threads, thread_name_prefix="compositor")
    try:
        yield Compositor(
            executor,
            Limits(int(config.max_image_mib * 1024 * 1024), int(config.max_megapixels * 1_000_000)),
            Admission("compositor", config.max_pending),
            config.cut_out_cache_mib * 1024 * 1024,
            config.timeout_s,
        )
    finally:
        executor.shutdown(cancel_futures=True)


async def _warm_up(compositor: Compositor) -> None:
    """Renders a preview, so that the first request is a fast one."""
    photo = Image.new("RGB", (640, 480), "white")
    photo.paste("firebrick", (240, 160, 400, 400))
    encoded = io.BytesIO()
    photo.save(encoded, "JPEG")
    for preset in (Preset.SQUARE, Preset.MARKETPLACE):
        await compositor.render(encoded.getvalue(), encoded.getvalue(), preset, 512, Format.JPEG)
