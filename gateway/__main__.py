"""Starts the gateway: `python -m gateway`, configured by `BACKDROP_GATEWAY_*`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

from chassis.errors import FailedPrecondition
from chassis.server import Application, run
from chassis.tls import certificate_files, channel_credentials
from gateway.api_keys import Door
from gateway.assets import Assets, open_store
from gateway.captioning import CaptionWriter
from gateway.config import GatewayConfig
from gateway.exporter import Exporter
from gateway.http.app import create_app
from gateway.http.server import serve_http
from gateway.importer import Importer
from gateway.looking import PictureLooker
from gateway.peers.captioner import Captioner
from gateway.peers.compositor import Compositor
from gateway.peers.generator import Generator
from gateway.peers.ranker import Ranker
from gateway.photo_cache import PhotoCache
from gateway.previewing import Previewer
from gateway.recommender import Recommender
from gateway.servicer import SERVICE, GatewayServicer


class OpenToAll(FailedPrecondition):
    """The gateway would let in whoever reaches it over a network."""

    reason = "OPEN_TO_ALL"


def open_door(config: GatewayConfig) -> Door:
    """Who is let in.

    Raises:
        BadKeys: the file of keys cannot be read.
        OpenToAll: there is none, and the gateway does not listen on loopback alone.
    """
    if config.keys_file is None and not config.allow_anonymous and not is_loopback(config.host):
        raise OpenToAll(
            f"The gateway listens on {config.host} and asks for no keys. Set BACKDROP_GATEWAY_KEYS_FILE to a file of"
            " backdrop keys create, or BACKDROP_GATEWAY_ALLOW_ANONYMOUS=true if something else guards it."
        )
    return Door(config.keys_file)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@asynccontextmanager
async def open_gateway(config: GatewayConfig) -> AsyncIterator[Application]:
    """Connects to the services behind; without captioner or ranker it is not ready, the others may fail."""
    door = open_door(config)
    credentials = channel_credentials(config.peers_ca_file, config.peers_cert_file, config.peers_key_file)
    files = certificate_files(config)
    ssl_context = files.ssl_context() if files else None
    assets = Assets(open_store(config.assets_url))
    async with (
        Captioner.connect(config.captioner_target, credentials) as captioner,
        Generator.connect(config.generator_target, credentials) as generator,
        Ranker.connect(config.ranker_target, credentials) as ranker,
        Compositor.connect(config.compositor_target, credentials) as compositor,
    ):
        writer = CaptionWriter(generator, captioner, config.grounding_margin)
        cache = PhotoCache(config.cache_size, config.cache_ttl_s, config.cache_previews_mib * 1024 * 1024)
        previewer = Previewer(compositor, assets, cache)
        recommender = Recommender(captioner, writer, ranker, previewer, cache, config.candidate_count)
        importer = Importer(PictureLooker(captioner, writer), ranker, assets, config.import_deadline_s)
        exporter = Exporter(ranker, assets)
        servicer = GatewayServicer(recommender, previewer, importer, exporter, ranker, assets, door, config)
        checks = {"captioner": captioner.check, "ranker": ranker.check}
        app = create_app(servicer, door, checks)
        async with serve_http(app, config.host, config.http_port, config.drain_s, ssl_context):
            yield Application({SERVICE: servicer.register}, checks)


if __name__ == "__main__":
    run("gateway", GatewayConfig, open_gateway)
