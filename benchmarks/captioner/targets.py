"""The servers that load is put on, as a client sees them: one call for each photo."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import grpc
import httpx

from backdrop.captioner.v1 import captioner_pb2 as pb
from chassis.errors import reason_of, retry_after_s_of, status_of

METHOD = "/backdrop.captioner.v1.CaptionerService/ExtractFeatures"
SEASONS = pb.CustomCategory(
    name="season", labels=["spring", "summer", "autumn", "winter"], templates=["a photo for {}", "{} decoration"]
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call.

    Attributes:
        outcome: `rejected` when the server says that it has too much to do, `failed` for any other error.
        hinted: of a rejection, whether it says when to try again.
        payload: the response, not parsed: clients of a load test must be cheap.
        reason: of a failure.
    """

    outcome: Literal["answered", "rejected", "failed"]
    hinted: bool = False
    payload: bytes = b""
    reason: str = ""


Call = Callable[[bytes], Awaitable[Answer]]
"""Sends a request that `Target.request` made."""


class Target(Protocol):
    """A server. Plain values, so that it crosses to the client's process."""

    @property
    def address(self) -> str:
        """Host and port."""
        ...

    def request(self, photo: bytes) -> bytes:
        """The request for a photo, made beforehand."""
        ...

    def open(self, timeout_s: float) -> AbstractAsyncContextManager[Call]:
        """A connection."""
        ...

    def embedding(self, payload: bytes) -> Sequence[float]:
        """The photo's embedding, of a response."""
        ...


@dataclass(frozen=True, slots=True)
class Captioner:
    """A server of `CaptionerService`: reads one category of the request's own, or with `taxonomy` that taxonomy."""

    address: str
    taxonomy: str = ""

    def request(self, photo: bytes) -> bytes:
        """See `Target`."""
        categories = [] if self.taxonomy else [SEASONS]
        request = pb.ExtractFeaturesRequest(image=photo, taxonomy=self.taxonomy, categories=categories)
        return request.SerializeToString()

    @asynccontextmanager
    async def open(self, timeout_s: float) -> AsyncIterator[Call]:
        """See `Target`."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            extract: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)

            async def call(request: bytes) -> Answer:
                try:
                    return Answer("answered", payload=await extract(request, timeout=timeout_s))
                except grpc.aio.AioRpcError as error:
                    return _refusal(error)

            yield call

    def embedding(self, payload: bytes) -> Sequence[float]:
        """See `Target`."""
        return pb.ExtractFeaturesResponse.FromString(payload).embedding.values


def _refusal(error: grpc.aio.AioRpcError) -> Answer:
    status = status_of(error)
    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Answer("rejected", hinted=retry_after_s_of(status) is not None)
    return Answer("failed", reason=reason_of(status))


@dataclass(frozen=True, slots=True)
class Infinity:
    """infinity-emb: embeds a photo and reads no label."""

    address: str
    model: str

    def request(self, photo: bytes) -> bytes:
        """See `Target`."""
        data_uri = "data:image/jpeg;base64," + base64.b64encode(photo).decode()
        return json.dumps({"model": self.model, "modality": "image", "input": [data_uri]}).encode()

    @asynccontextmanager
    async def open(self, timeout_s: float) -> AsyncIterator[Call]:
        """See `Target`."""
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=f"http://{self.address}", timeout=timeout_s, limits=limits) as client:

            async def call(request: bytes) -> Answer:
                try:
                    response = await client.post(
                        "/embeddings", content=request, headers={"content-type": "application/json"}
                    )
                except httpx.HTTPError as error:
                    return Answer("failed", reason=type(error).__name__)
                if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                    return Answer("rejected", hinted="retry-after" in response.headers)
                if response.is_error:
                    return Answer("failed", reason=str(response.status_code))
                return Answer("answered", payload=response.content)

            yield call

    def embedding(self, payload: bytes) -> Sequence[float]:
        """See `Target`."""
        embedding: list[float] = json.loads(payload)["data"][0]["embedding"]
        return embedding
