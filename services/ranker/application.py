"""The ranker put together: the model, the store, and what answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from backdrop.ranker.v1 import ranker_pb2_grpc
from chassis import server
from services.ranker.catalog import Catalog
from services.ranker.config import RankerConfig
from services.ranker.edge_store import open_edge_store
from services.ranker.sentence_model import SentenceTransformerEncoder
from services.ranker.servicer import SERVICE_NAME, RankerServicer
from services.ranker.text_embedding import TextEmbedder
from services.ranker.vector_store import VectorSpace, VectorStore


@asynccontextmanager
async def open_application(config: RankerConfig) -> AsyncIterator[server.Application]:
    """Loads the model and opens the store."""
    encoder = await asyncio.to_thread(
        SentenceTransformerEncoder, config.embedding_model, config.embedding_device, config.embedding_threads
    )
    space = VectorSpace(encoder.model, encoder.dimension, config.image_model, config.image_dimension)
    status_changed = asyncio.Event()
    with TextEmbedder(encoder, config.embedding_cache_size) as embedder:
        async with _open_store(config, space, status_changed) as store:
            servicer = RankerServicer(Catalog(embedder, store, space, config.weights, config.max_backgrounds))
            register = partial(ranker_pb2_grpc.add_RankerServiceServicer_to_server, servicer)
            yield server.Application(
                services={SERVICE_NAME: register}, checks={"store": store.check}, status_changed=status_changed
            )


def _open_store(
    config: RankerConfig, space: VectorSpace, status_changed: asyncio.Event
) -> AbstractAsyncContextManager[VectorStore]:
    if not config.qdrant_url:
        return open_edge_store(config, space, status_changed)
    # The client of a server takes 30 MB, which the embedded store does without.
    from services.ranker.server_store import connect_server_store

    api_key = config.qdrant_api_key.get_secret_value()
    return connect_server_store(
        config.qdrant_url, api_key, config.qdrant_collection, space, timeout_s=config.qdrant_timeout_s
    )
