"""A gateway on free ports before given peers, for tests."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from backdrop.gateway.v1 import gateway_pb2_grpc
from chassis.channels import open_channel
from chassis.server import start
from chassis.tls import channel_credentials
from gateway.__main__ import open_gateway
from gateway.config import GatewayConfig
from gateway.servicer import SERVICE
from tests.servers.peers import Peers
from tests.servers.ports import free_port


@dataclass(frozen=True)
class RunningGateway:
    """Where a gateway listens, and clients of it."""

    port: int
    url: str
    stub: Any
    http: httpx.AsyncClient


@asynccontextmanager
async def running_gateway(
    peers: Peers, folder: Path, *, ca: Path | None = None, **settings: Any
) -> AsyncIterator[RunningGateway]:
    """The real gateway for the time of the `async with`; its pictures go to `folder`, and `ca` is that of its TLS."""
    config = GatewayConfig(
        **{
            "port": 0,
            "http_port": free_port(),
            "assets_url": str(folder / "assets"),
            "import_deadline_s": 5,
            "drain_s": 1,
            **{f"{name}_target": target for name, target in peers.targets.items()},
            **settings,
        }
    )
    url = f"{'https' if ca else 'http'}://127.0.0.1:{config.http_port}"
    async with (
        open_gateway(config) as application,
        start(config, application) as server,
        open_channel(f"127.0.0.1:{server.port}", SERVICE, channel_credentials(ca, None, None)) as channel,
        httpx.AsyncClient(base_url=url, timeout=20, verify=ssl.create_default_context(cafile=ca)) as http,
    ):
        yield RunningGateway(server.port, url, gateway_pb2_grpc.GatewayServiceStub(channel), http)
