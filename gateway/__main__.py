"""Starts the gateway: `python -m gateway`, configured by `BACKDROP_GATEWAY_*`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis.server import Application, run
from gateway.assets import Assets, open_store
from gateway.captioning import CaptionWriter
from gateway.config import GatewayConfig
from gateway.exporter import Exporter
from gateway.http.app import create_app
from gateway.http.server import serve_http
from gateway.importer import Importer
from gateway.peers import Captioner, Generator, Ranker
from gateway.photo_cache import PhotoCache
from gateway.recommender import Recommender
from gateway.servicer import SERVICE, GatewayServicer


@asynccontextmanager
async def open_gateway(config: GatewayConfig) -> AsyncIterator[Application]:
    """Connects to the services behind; without captioner or ranker it is not ready, the generator may fail."""
    assets = Assets(open_store(config.assets_url))
    async with (
        Captioner.connect(config.captioner_target) as captioner,
        Generator.connect(config.generator_target) as generator,
        Ranker.connect(config.ranker_target) as ranker,
    ):
        writer = CaptionWriter(generator, captioner, config.grounding_margin)
        cache = PhotoCache(config.cache_size, config.cache_ttl_s)
        recommender = Recommender(captioner, writer, ranker, cache, config.candidate_count)
        importer = Importer(captioner, writer, ranker, assets, config.import_deadline_s)
        servicer = GatewayServicer(recommender, importer, Exporter(ranker, assets), ranker, assets, config)
        checks = {"captioner": captioner.check, "ranker": ranker.check}
        async with serve_http(create_app(servicer, checks), config.host, config.http_port, config.drain_s):
            yield Application({SERVICE: servicer.register}, checks)


if __name__ == "__main__":
    run("gateway", GatewayConfig, open_gateway)
