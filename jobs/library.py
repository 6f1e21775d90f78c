"""The library that is filled, through the gateway: what it holds already, and what is sent to it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc
from chassis.channels import open_channel
from chassis.errors import (
    BackdropError,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    from_rpc,
    from_status,
)
from chassis.tls import channel_credentials

SERVICE = pb.DESCRIPTOR.services_by_name["GatewayService"].full_name
CALL_S = 60.0
PATIENCE_S = 120.0
"""How long a gateway that is down or overloaded is asked again, for one picture."""
_PAUSE_S = 1.0
_NOT_LET_IN = {each.code: each for each in (PermissionDenied, Unauthenticated)}


class OtherModel(FailedPrecondition):
    """The job reads pictures with another image-text model than the installation does."""

    reason = "OTHER_MODEL"


class LibraryFull(ResourceExhausted):
    """The store's disk is full, or the library holds as many backgrounds as it may."""

    reason = "STORE_FULL"


class LibraryLost(Unavailable):
    """The gateway, or what it needs, stayed away for longer than the job waits."""

    reason = "LIBRARY_LOST"


STOPPING = (OtherModel, PermissionDenied, Unauthenticated, LibraryFull, LibraryLost)
"""What would befall the next picture too: the job stops instead of failing them all."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where the gateway is, and what it wants to see.

    Attributes:
        target: such as `127.0.0.1:50050`.
        key: the API key, if any.
        ca: PEM file of the CA, where it speaks TLS.
    """

    target: str
    key: str | None = None
    ca: Path | None = None

    def __repr__(self) -> str:
        # Ray logs arguments; the key is nobody's business.
        return f"Door({self.target!r})"


class Library:
    """Asks and fills a library; a call that meets a passing trouble is made again."""

    def __init__(self, channel: grpc.aio.Channel, key: str | None) -> None:
        self._stub: Any = gateway_pb2_grpc.GatewayServiceStub(channel)
        self._metadata = (("x-api-key", key),) if key else ()

    @classmethod
    @asynccontextmanager
    async def connect(cls, door: Door) -> "AsyncIterator[Library]":
        """Opens a channel for the time of the `async with`."""
        credentials = channel_credentials(door.ca, None, None)
        async with open_channel(door.target, SERVICE, credentials) as channel:
            yield cls(channel, door.key)

    async def has(self, request: pb.ImportBackgroundsRequest, image: bytes) -> bool:
        """Whether the library holds just this picture with just these words."""
        ask = pb.GetBackgroundRequest(name=request.name)
        try:
            response = await self._patiently(
                lambda: self._stub.GetBackground(ask, timeout=CALL_S, metadata=self._metadata)
            )
        except NotFound:
            return False
        return _same(response.background, request, image)

    async def add(self, request: pb.ImportBackgroundsRequest) -> pb.ImportBackgroundsResponse:
        """Imports one background.

        Raises:
            OtherModel: the record is of another image-text model than the library's.
            LibraryLost: the gateway stays away.
            BackdropError: the background cannot be imported.
        """
        try:
            response: pb.ImportBackgroundsResponse = await self._patiently(lambda: self._send(request))
        except BackdropError as error:
            # The job itself wrote the record, of the picture it came with: what can be wrong is wrong for all pictures.
            if all(each.field != "record" for each in error.violations):
                raise
            raise OtherModel(
                f"{error.message} If it speaks of another model, set BACKDROP_CAPTIONER_MODEL as for the captioner"
                " of this installation."
            ) from error
        return response

    async def _send(self, request: pb.ImportBackgroundsRequest) -> pb.ImportBackgroundsResponse:
        call = self._stub.ImportBackgrounds(iter([request]), timeout=CALL_S, metadata=self._metadata)
        response: Any = await call.read()
        if response is grpc.aio.EOF:
            raise Unavailable("The gateway ended the call without an answer.")
        if response.outcome == pb.OUTCOME_FAILED:
            raise from_status(response.error)
        imported: pb.ImportBackgroundsResponse = response
        return imported

    async def _patiently(self, call: Any) -> Any:
        give_up = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            try:
                return await call()
            except (grpc.aio.AioRpcError, BackdropError) as error:
                failure = _failure(error) if isinstance(error, grpc.aio.AioRpcError) else error
                if failure.reason == LibraryFull.reason:
                    raise LibraryFull(failure.message) from error
                pause_s = failure.retry_after_s or _PAUSE_S
                if not isinstance(failure, Unavailable | ResourceExhausted):
                    raise failure from error
                if asyncio.get_running_loop().time() + pause_s > give_up:
                    raise LibraryLost(f"{failure.message} ({failure.reason}, for {PATIENCE_S:.0f} s)") from error
                await asyncio.sleep(pause_s)


def _failure(error: grpc.aio.AioRpcError) -> BackdropError:
    failure = from_rpc(error, "gateway")
    if error.code() not in _NOT_LET_IN:
        return failure
    return _NOT_LET_IN[error.code()](failure.message)


def _same(known: pb.Background, request: pb.ImportBackgroundsRequest, image: bytes) -> bool:
    return (
        known.sha256 == hashlib.sha256(image).hexdigest()
        and known.title == request.title
        and list(known.keywords) == list(request.keywords)
        and _attributes(known) == _attributes(request)
        and known.expire_time == request.expire_time
    )


def _attributes(message: pb.Background | pb.ImportBackgroundsRequest) -> dict[str, list[str]]:
    return {each.key: list(each.values) for each in message.attributes}
