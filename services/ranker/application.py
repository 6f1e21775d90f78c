"""The ranker put together: the model, the index, and what answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any

import structlog

from backdrop.ranker.v1 import ranker_pb2_grpc, snapshots_pb2_grpc
from chassis import server
from services.ranker.catalog import Catalog
from services.ranker.compaction import keep_compact
from services.ranker.config import RankerConfig
from services.ranker.edge_store import EdgeFolder, open_edge_folder
from services.ranker.index import Home, Index, Version
from services.ranker.reembedding import reembed
from services.ranker.sentence_model import EmbeddingModelNotLoaded, load_encoder
from services.ranker.servicer import SERVICE_NAME, RankerServicer
from services.ranker.snapshot_servicer import SNAPSHOT_SERVICE_NAME, SnapshotServicer
from services.ranker.snapshots import Snapshots
from services.ranker.text_embedding import Encoder, TextEmbedder
from services.ranker.vector_store import VectorSpace

log = structlog.get_logger(__name__)

AFTER_FAILURE_S = 60.0


@asynccontextmanager
async def open_application(config: RankerConfig) -> AsyncIterator[server.Application]:
    """Loads the model and opens the index; where that is of another model, it is moved to this one while it serves."""
    status_changed = asyncio.Event()
    async with AsyncExitStack() as stack:
        encoder = await _load(config, config.embedding_model)
        space = VectorSpace(
            encoder.model, encoder.dimension, config.image_model, config.image_dimension, config.embedding_model
        )
        embedder = stack.enter_context(TextEmbedder(encoder, config.embedding_cache_size))
        home = await _open_home(config, status_changed, stack)
        index = await _open_index(config, embedder, space, home, stack)
        stack.push_async_callback(index.aclose)
        keeper = asyncio.create_task(_keep(index, embedder, space, home), name="index keeper")
        stack.push_async_callback(_cancel, keeper)
        snapshots = None
        if isinstance(home, EdgeFolder):
            snapshots = await stack.enter_async_context(aclosing(Snapshots(index, home, config)))
        servicer = RankerServicer(Catalog(index, config.weights, config.max_backgrounds, alone=not config.qdrant_url))
        services = {
            SERVICE_NAME: partial(ranker_pb2_grpc.add_RankerServiceServicer_to_server, servicer),
            SNAPSHOT_SERVICE_NAME: partial(
                snapshots_pb2_grpc.add_SnapshotServiceServicer_to_server, SnapshotServicer(snapshots)
            ),
        }
        yield server.Application(services=services, checks={"store": index.check}, status_changed=status_changed)


async def _load(config: RankerConfig, model: str) -> Encoder:
    started = perf_counter()
    encoder = await asyncio.to_thread(load_encoder, config, model)
    log.info("model_loaded", model=encoder.model, runtime=encoder.runtime, load_s=round(perf_counter() - started, 2))
    return encoder


async def _open_home(config: RankerConfig, status_changed: asyncio.Event, stack: AsyncExitStack) -> Home:
    if not config.qdrant_url:
        return stack.enter_context(open_edge_folder(config, status_changed))
    # The client of a server takes 30 MB, which the embedded store does without.
    from services.ranker.server_collections import connect_server

    api_key = config.qdrant_api_key.get_secret_value()
    return await stack.enter_async_context(
        connect_server(
            config.qdrant_url,
            api_key,
            config.qdrant_collection,
            timeout_s=config.qdrant_timeout_s,
            shards=config.qdrant_shards,
            quantized=config.qdrant_quantized,
        )
    )


async def _open_index(
    config: RankerConfig, embedder: TextEmbedder, space: VectorSpace, home: Home, stack: AsyncExitStack
) -> Index[Any]:
    stored = await home.space_in_use()
    if stored is not None and stored != space:
        embedder = await _embedder_of(config, stored, space, home, stack)
        return Index(await Version.open(embedder, stored, home.open_space(stored)))
    version = await Version.open(embedder, space, home.open_space(space))
    await home.use(version.store)
    return Index(version)


async def _embedder_of(
    config: RankerConfig, stored: VectorSpace, space: VectorSpace, home: Home, stack: AsyncExitStack
) -> TextEmbedder:
    """The model of the vectors that there are, to go on with until the new one has read everything.

    Raises:
        EmbeddingModelChanged: it cannot be loaded any more, or pictures would have to be read again as well.
    """
    changed = space.changed_from(stored, home.name, home.setting)
    if (stored.image_model, stored.image_dimension) != (space.image_model, space.image_dimension):
        raise changed
    try:
        encoder = await _load(config, stored.source)
    except EmbeddingModelNotLoaded as error:
        raise changed from error
    if (encoder.model, encoder.dimension) != (stored.model, stored.dimension):
        raise changed
    return stack.enter_context(TextEmbedder(encoder, config.embedding_cache_size))


async def _keep(index: Index[Any], embedder: TextEmbedder, space: VectorSpace, home: Home) -> None:
    """Moves the index to the model, if need be, and keeps it compact from then on."""
    while index.version.space != space:
        try:
            await reembed(index, embedder, space, home)
        # The old model goes on answering meanwhile.
        except Exception:
            log.exception("reembedding_failed", next_attempt_s=AFTER_FAILURE_S)
            await asyncio.sleep(AFTER_FAILURE_S)
    await home.clean()
    if isinstance(home, EdgeFolder):
        await keep_compact(index, home)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
