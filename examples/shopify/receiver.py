"""A receiver of Shopify's webhook `products/create`: finds backgrounds for a new product and tells a callback of yours.

    pip install starlette uvicorn httpx tenacity standardwebhooks pydantic-settings
    SHOPIFY_SECRET=... CALLBACK_URL=https://shop.example/backdrop CALLBACK_SECRET=whsec_... python receiver.py

Shopify signs what it sends (https://shopify.dev/docs/apps/build/webhooks/verify-deliveries), and wants an answer
within five seconds, so the work comes after it. The callback is signed as Standard Webhooks says, with libraries for
it in most languages (https://www.standardwebhooks.com), and comes again, later and later, until it is answered with
2xx. What waits is kept in memory, at most `QUEUE_SIZE` products; then Shopify is told to come again. What was still
waiting when the process ends is logged.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvicorn
from cachetools import TTLCache
from pydantic_settings import BaseSettings
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from backdrop.client import AsyncClient, BackdropError
from backdrop.gateway.v1 import gateway_pb2 as pb

log = logging.getLogger("receiver")

MAX_BODY_BYTES = 5 * 2**20
MAX_PHOTO_BYTES = 20 * 2**20
SEEN_FOR_S = 2 * 24 * 3600


class Settings(BaseSettings):
    """From the environment, each by its name in capitals."""

    shopify_secret: str
    """The app's client secret, which Shopify signs with."""

    callback_url: str
    """Where the backgrounds of a product are posted."""

    callback_secret: str
    """`whsec_` and base64 of 24 to 64 bytes, which the callback is signed with."""

    image_origins: list[str] = ["https://cdn.shopify.com"]
    """Where photos may be fetched from, and from nowhere else: a webhook must not make this server call others."""

    backdrop_target: str = "127.0.0.1:50050"
    backdrop_api_key: str = ""
    backdrop_library: str = "samples"
    limit: int = 3
    port: int = 8090
    queue_size: int = 100
    attempts: int = 8
    """How often the callback is tried."""

    first_wait_s: float = 1
    """At most so many seconds before the second attempt, twice as many before each further one, never over 600."""


class CallbackRefused(Exception):
    """The callback was not answered with 2xx."""


@dataclass
class Receiver:
    """What was taken in, and what becomes of it."""

    settings: Settings
    backdrop: AsyncClient
    http: httpx.AsyncClient
    queue: asyncio.Queue[dict[str, Any]] = field(init=False)
    seen: TTLCache[str, bool] = field(default_factory=lambda: TTLCache(10_000, SEEN_FOR_S))

    def __post_init__(self) -> None:
        self.queue = asyncio.Queue(self.settings.queue_size)

    async def receive(self, request: Request) -> Response:
        """Takes a webhook in, or says why not."""
        body = await request.body()
        if len(body) > MAX_BODY_BYTES:
            return PlainTextResponse("The body is too large.", 413)
        if not is_signed(body, request.headers.get("x-shopify-hmac-sha256", ""), self.settings.shopify_secret):
            log.warning("refused a webhook that Shopify did not sign")
            return PlainTextResponse("The signature is wrong.", 401)
        delivery = request.headers.get("x-shopify-webhook-id", "")
        if request.headers.get("x-shopify-topic") != "products/create" or delivery in self.seen:
            return PlainTextResponse("Nothing to do.")
        try:
            product = json.loads(body)
            job = {"shop": request.headers.get("x-shopify-shop-domain", ""), "product": product["id"]}
            job |= {"title": product.get("title", ""), "photo": product["images"][0]["src"]}
        except (ValueError, KeyError, IndexError, TypeError):
            return PlainTextResponse("The product has no photo.")
        try:
            self.queue.put_nowait(job)
        except asyncio.QueueFull:
            return PlainTextResponse("Too many products wait; come again.", 503, {"Retry-After": "60"})
        self.seen[delivery] = True
        return PlainTextResponse("Taken in.", 202)

    async def work(self) -> None:
        """Works on one product after the other; one that fails is logged and does not hold up the others."""
        while True:
            job = await self.queue.get()
            try:
                await self.tell(await self.answer(job))
                log.info("told of product %s", job["product"])
            except (BackdropError, CallbackRefused, httpx.HTTPError, ValueError) as error:
                log.error("gave up on product %s: %s", job["product"], error)
            except Exception:
                log.exception("failed on product %s", job["product"])
            finally:
                self.queue.task_done()

    async def answer(self, job: dict[str, Any]) -> dict[str, Any]:
        """The backgrounds for a product, each with the product shown in it."""
        photo = await self.fetch(job["photo"])
        options = pb.PreviewOptions(size=1024)
        settings = self.settings
        response = await self.backdrop.recommend(
            settings.backdrop_library, photo, limit=settings.limit, preview=options, timeout_s=60
        )
        previews = {each.background: each for each in response.previews}
        return {
            "type": "product.backgrounds_recommended",
            "shop": job["shop"],
            "product": job["product"],
            "recommendationId": response.recommendation_id,
            "degraded": [each.message for each in response.degraded],
            "backgrounds": [described(each, previews.get(each.background.name)) for each in response.recommendations],
        }

    async def fetch(self, url: str) -> bytes:
        """A photo from one of the origins that are allowed; redirects are not followed."""
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" not in self.settings.image_origins:
            raise ValueError(f"photos are not fetched from {parts.scheme}://{parts.netloc}")
        photo = bytearray()
        async with self.http.stream("GET", url) as response:
            if response.status_code != 200:
                raise ValueError(f"the photo was answered with {response.status_code}")
            async for chunk in response.aiter_bytes():
                photo += chunk
                if len(photo) > MAX_PHOTO_BYTES:
                    raise ValueError("the photo is too large")
        return bytes(photo)

    async def tell(self, answer: dict[str, Any]) -> None:
        """Posts an answer to the callback, signed, until it is taken."""
        settings = self.settings
        body = json.dumps(answer)
        message_id = f"product-{answer['product']}"
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((CallbackRefused, httpx.TransportError)),
            wait=wait_random_exponential(settings.first_wait_s, max=600),
            stop=stop_after_attempt(settings.attempts),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                now = datetime.now(UTC)
                headers = {
                    "content-type": "application/json",
                    "webhook-id": message_id,
                    "webhook-timestamp": str(int(now.timestamp())),
                    "webhook-signature": Webhook(settings.callback_secret).sign(message_id, now, body),
                }
                response = await self.http.post(settings.callback_url, content=body, headers=headers)
                if not response.is_success:
                    raise CallbackRefused(f"the callback answered {response.status_code}")


def is_signed(body: bytes, signature: str, secret: str) -> bool:
    """Whether Shopify made the signature: base64 of the body's HMAC-SHA256."""
    expected = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256))
    return hmac.compare_digest(expected, signature.encode())


def described(recommendation: pb.Recommendation, preview: pb.Preview | None) -> dict[str, Any]:
    """One background as the callback tells it."""
    background = recommendation.background
    told: dict[str, Any] = {
        "name": background.name,
        "title": background.title,
        "score": round(recommendation.score, 3),
        "reason": recommendation.reason,
    }
    if preview:
        told["preview"] = {
            "contentType": preview.content_type,
            "image": base64.b64encode(preview.image).decode(),
            "lookClosely": preview.cut_out.reason,
        }
    return told


def create_app(settings: Settings) -> Starlette:
    """The receiver, which works while it is served."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with (
            AsyncClient(settings.backdrop_target, api_key=settings.backdrop_api_key) as backdrop,
            httpx.AsyncClient(timeout=20, trust_env=False) as http,
        ):
            app.state.receiver = receiver = Receiver(settings, backdrop, http)
            working = asyncio.create_task(receiver.work())
            yield
            working.cancel()
            if receiver.queue.qsize():
                log.error("%d products were not worked on", receiver.queue.qsize())

    async def receive(request: Request) -> Response:
        response: Response = await request.app.state.receiver.receive(request)
        return response

    return Starlette(routes=[Route("/webhooks/products", receive, methods=["POST"])], lifespan=lifespan)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    given = Settings()
    uvicorn.run(create_app(given), port=given.port)
