"""The webhook receiver of examples/shopify before the real gateway with tiny peers, and a callback that may fail."""

import asyncio
import base64
import hashlib
import hmac
import importlib.util
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backdrop.gateway.v1 import gateway_pb2 as pb
from gateway.http.server import serve_http
from tests.servers.gateway import running_gateway
from tests.servers.peers import Peers

SOURCE = Path(__file__).parent.parent.parent / "examples" / "shopify" / "receiver.py"
SPEC = importlib.util.spec_from_file_location("receiver", SOURCE)
assert SPEC
assert SPEC.loader
receiver = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(receiver)

SECRET = "a secret of Shopify's"
CALLBACK_SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()


@dataclass
class Shop:
    """Holds photos, and takes callbacks, the first ones badly."""

    url: str = ""
    failures: int = 0
    photos: int = 0
    calls: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> Starlette:
        return Starlette(
            routes=[Route("/photo.jpg", self._photo), Route("/callback", self._callback, methods=["POST"])]
        )

    async def _photo(self, request: Request) -> Response:
        self.photos += 1
        return Response(b"photo", media_type="image/jpeg")

    async def _callback(self, request: Request) -> Response:
        self.calls.append((await request.body(), dict(request.headers)))
        if len(self.calls) <= self.failures:
            return Response(status_code=503)
        self.told.set()
        return Response()


@dataclass
class Started:
    """The receiver as a server, and the shop."""

    http: httpx.AsyncClient
    shop: Shop

    async def send(self, product: Any, delivery: str = "1", secret: str = SECRET, **headers: str) -> httpx.Response:
        """A webhook as Shopify sends it."""
        body = json.dumps(product).encode()
        signature = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()
        sent = {
            "X-Shopify-Topic": "products/create",
            "X-Shopify-Hmac-Sha256": signature,
            "X-Shopify-Shop-Domain": "mugs.myshopify.com",
            "X-Shopify-Webhook-Id": delivery,
            **headers,
        }
        return await self.http.post("/webhooks/products", content=body, headers=sent)


@pytest.fixture
async def started(tmp_path: Path) -> AsyncIterator[Started]:
    async with AsyncExitStack() as stack:
        peers, shop = Peers(), Shop()
        await peers.start()
        stack.push_async_callback(peers.stop_all)
        gateway = await stack.enter_async_context(running_gateway(peers, tmp_path))
        item = pb.ImportBackgroundsRequest(name="libraries/shop/backgrounds/oak", image=b"oak")
        assert [each async for each in gateway.stub.ImportBackgrounds(iter([item]))]
        port = await stack.enter_async_context(serve_http(shop.app(), "127.0.0.1", 0, 1))
        shop.url = f"http://127.0.0.1:{port}"
        settings = receiver.Settings(
            shopify_secret=SECRET,
            callback_url=f"{shop.url}/callback",
            callback_secret=CALLBACK_SECRET,
            image_origins=[shop.url],
            backdrop_target=f"127.0.0.1:{gateway.port}",
            backdrop_library="shop",
            first_wait_s=0.05,
        )
        app = receiver.create_app(settings)
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app)
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://receiver"))
        yield Started(http, shop)


def a_product(shop: Shop, path: str = "/photo.jpg") -> dict[str, Any]:
    return {"id": 7, "title": "A mug", "images": [{"id": 1, "src": f"{shop.url}{path}"}]}


async def test_a_new_product_gets_backgrounds_and_the_shop_hears_of_them(started: Started) -> None:
    started.shop.failures = 2
    assert (await started.send(a_product(started.shop))).status_code == 202
    await asyncio.wait_for(started.shop.told.wait(), 20)
    assert len(started.shop.calls) == 3
    assert len({headers["webhook-id"] for _, headers in started.shop.calls}) == 1
    body, headers = started.shop.calls[-1]
    told = Webhook(CALLBACK_SECRET).verify(body, headers)
    assert (told["product"], told["shop"]) == (7, "mugs.myshopify.com")
    [background] = told["backgrounds"]
    assert background["name"] == "libraries/shop/backgrounds/oak"
    assert base64.b64decode(background["preview"]["image"]) == b"photo in oak"


async def test_what_shopify_did_not_sign_is_refused(started: Started) -> None:
    assert (await started.send(a_product(started.shop), secret="another")).status_code == 401
    assert (await started.send(a_product(started.shop), **{"X-Shopify-Hmac-Sha256": "no base64"})).status_code == 401
    assert started.shop.photos == 0


async def test_a_webhook_that_comes_twice_is_worked_on_once(started: Started) -> None:
    for _ in range(2):
        assert (await started.send(a_product(started.shop), delivery="same")).is_success
    await asyncio.wait_for(started.shop.told.wait(), 20)
    await asyncio.sleep(0.2)
    assert len(started.shop.calls) == 1


@pytest.mark.parametrize("product", [{"id": 7, "images": []}, {"images": [{"src": "x"}]}, [], "mug"])
async def test_a_product_without_a_photo_is_nothing_to_do(started: Started, product: Any) -> None:
    assert (await started.send(product)).text == "The product has no photo."


async def test_photos_are_fetched_from_nowhere_else(started: Started) -> None:
    elsewhere = a_product(started.shop)
    elsewhere["images"][0]["src"] = started.shop.url.replace("127.0.0.1", "localhost") + "/photo.jpg"
    assert (await started.send(elsewhere)).status_code == 202
    assert (await started.send(a_product(started.shop), delivery="2")).status_code == 202
    await asyncio.wait_for(started.shop.told.wait(), 20)
    assert (started.shop.photos, len(started.shop.calls)) == (1, 1)
