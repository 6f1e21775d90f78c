"""What all services behind the gateway have."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ClassVar, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.channels import call_metadata, open_channel
from chassis.errors import Unavailable, from_rpc

Response = TypeVar("Response")

HEALTH_TIMEOUT_S = 2.0


class Peer:
    """What all peers have: a channel, errors that are ours, and a look at their health."""

    name: ClassVar[str]
    service: ClassVar[str]

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._health = health_pb2_grpc.HealthStub(channel)

    @classmethod
    @asynccontextmanager
    async def connect(cls, target: str, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[Self]:
        """Opens a channel to `target` for the time of the `async with`, over TLS where there are credentials."""
        async with open_channel(target, cls.service, credentials) as channel:
            yield cls(channel)

    async def check(self) -> None:
        """Raises `Unavailable` while the peer is not ready."""
        request = health_pb2.HealthCheckRequest(service=self.service)
        response = await self._answer(self._health.Check(request, timeout=HEALTH_TIMEOUT_S))
        if response.status != health_pb2.HealthCheckResponse.SERVING:
            raise Unavailable(f"The {self.name} is not ready.")

    async def _call(self, method: Callable[..., Awaitable[Response]], request: Message, timeout_s: float) -> Response:
        """Calls a method of the peer on behalf of the request in work."""
        return await self._answer(method(request, timeout=timeout_s, metadata=call_metadata()))

    async def _answer(self, call: Awaitable[Response]) -> Response:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, self.name) from error
