"""Backdrop's client for Python: `Client`, and `AsyncClient` for asyncio.

    from backdrop.client import Client

    with Client("127.0.0.1:50050") as backdrop:
        answer = backdrop.recommend("shop", photo, filters={"mood": ["calm", "warm"]}, limit=5)
        for each in answer.recommendations:
            print(each.background.name, each.reason)

Answers are the contract's own messages (`backdrop.gateway.v1.gateway_pb2`), which are typed. A call that fails raises
`BackdropError`, with a stable `reason`. Calls that find nobody there are tried again; those that are told to wait do
so, as long as the deadline allows.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc
from chassis.channels import channel_options
from chassis.errors import FieldViolation, reason_of, retry_after_s_of, status_of, violations_of
from chassis.tls import new_channel

SERVICE = pb.DESCRIPTOR.services_by_name["GatewayService"].full_name
PAGE_SIZE = 1000

Filters = Mapping[str, Sequence[str]] | Sequence[pb.Filter]


class BackdropError(Exception):
    """A call failed.

    Attributes:
        code: gRPC's status code.
        reason: stable, for programs, such as `LIBRARY_NOT_FOUND`.
        message: what is wrong and what to do, for people.
        violations: the request's fields that are at fault.
        retry_after_s: when to try again, where the gateway said so.
    """

    def __init__(self, error: Any) -> None:
        status = status_of(error)
        self.code: grpc.StatusCode = error.code()
        self.reason: str = reason_of(status)
        self.message: str = status.message
        self.violations: list[FieldViolation] = violations_of(status)
        self.retry_after_s: float | None = retry_after_s_of(status)
        super().__init__(f"{self.message} ({self.reason})")


@dataclass(frozen=True)
class _Settings:
    target: str
    api_key: str
    timeout_s: float
    tls: bool
    root_certificates: bytes | None

    @property
    def metadata(self) -> list[tuple[str, str]]:
        return [("x-api-key", self.api_key)] if self.api_key else []

    def open(self, module: Any) -> Any:
        """A channel of `grpc` or `grpc.aio`."""
        credentials = grpc.ssl_channel_credentials(self.root_certificates) if self.tls else None
        return new_channel(module, self.target, credentials, channel_options(SERVICE))


class Client:
    """Calls the gateway, from any number of threads. Use it as a context manager, or `close` it.

    Args:
        target: where the gateway listens for gRPC, HOST:PORT.
        api_key: where the gateway asks for one.
        timeout_s: deadline of each call that is given none of its own.
        tls: speak TLS, with the usual root certificates or those given.
        root_certificates: PEM.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:50050",
        *,
        api_key: str = "",
        timeout_s: float = 15,
        tls: bool = False,
        root_certificates: bytes | None = None,
    ) -> None:
        self._settings = _Settings(target, api_key, timeout_s, tls, root_certificates)
        self._channel = self._settings.open(grpc)
        self._stub = gateway_pb2_grpc.GatewayServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def recommend(
        self, library: str, image: bytes, *, filters: Filters = (), timeout_s: float | None = None, **wishes: Any
    ) -> pb.RecommendResponse:
        """The backgrounds of a library in which the product of the photo would look best.

        Args:
            library: its id.
            image: the encoded photo.
            filters: by key the values of which a background must have one, or the contract's own filters.
            timeout_s: deadline of this call.
            wishes: further fields of `RecommendRequest`: `limit`, `language`, `diversity`, `weights`.

        Raises:
            BackdropError: it failed.
        """
        request = _recommend_request(library, image, filters, wishes)
        response: pb.RecommendResponse = self._call(self._stub.Recommend, request, timeout_s)
        return response

    def recommend_stream(
        self, library: str, image: bytes, *, filters: Filters = (), timeout_s: float | None = None, **wishes: Any
    ) -> Iterator[pb.RecommendStreamResponse]:
        """As `recommend`, stage by stage."""
        request = pb.RecommendStreamRequest(request=_recommend_request(library, image, filters, wishes))
        yield from self._stream(self._stub.RecommendStream, request, timeout_s)

    def import_backgrounds(
        self, backgrounds: Iterable[pb.ImportBackgroundsRequest], timeout_s: float | None = None
    ) -> Iterator[pb.ImportBackgroundsResponse]:
        """Imports backgrounds, several at once; their outcomes come in the order in which they are done.

        Without `timeout_s` there is no deadline. `background` makes the requests.
        """
        yield from self._stream(self._stub.ImportBackgrounds, iter(backgrounds), timeout_s or float("inf"))

    def get_library(self, library: str) -> pb.GetLibraryResponse:
        """The library as a whole: its rules."""
        response: pb.GetLibraryResponse = self._call(self._stub.GetLibrary, _library_request(library))
        return response

    def update_library(self, library: str, *, rules: Sequence[pb.Filter]) -> pb.UpdateLibraryResponse:
        """Replaces the rules of a library, which every recommendation from it obeys; none lifts them."""
        request = _update_library_request(library, rules)
        response: pb.UpdateLibraryResponse = self._call(self._stub.UpdateLibrary, request)
        return response

    def get_background(self, name: str) -> pb.Background:
        """The background of that full name."""
        response: pb.GetBackgroundResponse = self._call(self._stub.GetBackground, pb.GetBackgroundRequest(name=name))
        return response.background

    def get_background_image(self, name: str) -> bytes:
        """Its picture, as it was imported."""
        request = pb.GetBackgroundImageRequest(name=name)
        response: pb.GetBackgroundImageResponse = self._call(self._stub.GetBackgroundImage, request)
        return response.image

    def list_backgrounds(self, library: str) -> Iterator[pb.Background]:
        """All backgrounds of a library, page by page as they are asked for."""
        token = ""
        while True:
            page: pb.ListBackgroundsResponse = self._call(self._stub.ListBackgrounds, _page_request(library, token))
            yield from page.backgrounds
            token = page.next_page_token
            if not token:
                return

    def delete_background(self, name: str) -> None:
        """Forgets the background of that full name."""
        self._call(self._stub.DeleteBackground, pb.DeleteBackgroundRequest(name=name))

    def record_feedback(
        self, library: str, recommendation_id: str, *, chosen: Sequence[str] = (), rejected: Sequence[str] = ()
    ) -> None:
        """Says which backgrounds of an answer were chosen, and which rejected, by their full names."""
        self._call(self._stub.RecordFeedback, _feedback_request(library, recommendation_id, chosen, rejected))

    def _call(self, method: Callable[..., Any], request: Any, timeout_s: float | None = None) -> Any:
        deadline_s = time.monotonic() + (timeout_s or self._settings.timeout_s)
        while True:
            try:
                left_s = max(0.0, deadline_s - time.monotonic())
                return method(request, timeout=left_s, metadata=self._settings.metadata)
            except grpc.RpcError as error:
                time.sleep(_wait_s(error, deadline_s))

    def _stream(self, method: Callable[..., Any], request: Any, timeout_s: float | None) -> Iterator[Any]:
        call = method(request, timeout=_finite(timeout_s, self._settings), metadata=self._settings.metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise BackdropError(error) from error
        finally:
            call.cancel()


class AsyncClient:
    """As `Client`, for asyncio. Use it as an asynchronous context manager, or await `close`."""

    def __init__(
        self,
        target: str = "127.0.0.1:50050",
        *,
        api_key: str = "",
        timeout_s: float = 15,
        tls: bool = False,
        root_certificates: bytes | None = None,
    ) -> None:
        self._settings = _Settings(target, api_key, timeout_s, tls, root_certificates)
        self._channel = self._settings.open(grpc.aio)
        self._stub: Any = gateway_pb2_grpc.GatewayServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def recommend(
        self, library: str, image: bytes, *, filters: Filters = (), timeout_s: float | None = None, **wishes: Any
    ) -> pb.RecommendResponse:
        """See `Client.recommend`."""
        request = _recommend_request(library, image, filters, wishes)
        response: pb.RecommendResponse = await self._call(self._stub.Recommend, request, timeout_s)
        return response

    async def recommend_stream(
        self, library: str, image: bytes, *, filters: Filters = (), timeout_s: float | None = None, **wishes: Any
    ) -> AsyncIterator[pb.RecommendStreamResponse]:
        """See `Client.recommend_stream`."""
        request = pb.RecommendStreamRequest(request=_recommend_request(library, image, filters, wishes))
        async for response in self._stream(self._stub.RecommendStream, request, timeout_s):
            yield response

    async def import_backgrounds(
        self,
        backgrounds: Iterable[pb.ImportBackgroundsRequest] | AsyncIterator[pb.ImportBackgroundsRequest],
        timeout_s: float | None = None,
    ) -> AsyncIterator[pb.ImportBackgroundsResponse]:
        """See `Client.import_backgrounds`."""
        async for response in self._stream(self._stub.ImportBackgrounds, backgrounds, timeout_s or float("inf")):
            yield response

    async def get_library(self, library: str) -> pb.GetLibraryResponse:
        """See `Client.get_library`."""
        response: pb.GetLibraryResponse = await self._call(self._stub.GetLibrary, _library_request(library))
        return response

    async def update_library(self, library: str, *, rules: Sequence[pb.Filter]) -> pb.UpdateLibraryResponse:
        """See `Client.update_library`."""
        request = _update_library_request(library, rules)
        response: pb.UpdateLibraryResponse = await self._call(self._stub.UpdateLibrary, request)
        return response

    async def get_background(self, name: str) -> pb.Background:
        """See `Client.get_background`."""
        request = pb.GetBackgroundRequest(name=name)
        response: pb.GetBackgroundResponse = await self._call(self._stub.GetBackground, request)
        return response.background

    async def get_background_image(self, name: str) -> bytes:
        """See `Client.get_background_image`."""
        request = pb.GetBackgroundImageRequest(name=name)
        response: pb.GetBackgroundImageResponse = await self._call(self._stub.GetBackgroundImage, request)
        return response.image

    async def list_backgrounds(self, library: str) -> AsyncIterator[pb.Background]:
        """See `Client.list_backgrounds`."""
        token = ""
        while True:
            page = await self._call(self._stub.ListBackgrounds, _page_request(library, token))
            for each in page.backgrounds:
                yield each
            token = page.next_page_token
            if not token:
                return

    async def delete_background(self, name: str) -> None:
        """See `Client.delete_background`."""
        await self._call(self._stub.DeleteBackground, pb.DeleteBackgroundRequest(name=name))

    async def record_feedback(
        self, library: str, recommendation_id: str, *, chosen: Sequence[str] = (), rejected: Sequence[str] = ()
    ) -> None:
        """See `Client.record_feedback`."""
        await self._call(self._stub.RecordFeedback, _feedback_request(library, recommendation_id, chosen, rejected))

    async def _call(self, method: Callable[..., Any], request: Any, timeout_s: float | None = None) -> Any:
        deadline_s = time.monotonic() + (timeout_s or self._settings.timeout_s)
        while True:
            try:
                left_s = max(0.0, deadline_s - time.monotonic())
                return await method(request, timeout=left_s, metadata=self._settings.metadata)
            except grpc.aio.AioRpcError as error:
                await asyncio.sleep(_wait_s(error, deadline_s))

    async def _stream(self, method: Callable[..., Any], request: Any, timeout_s: float | None) -> AsyncIterator[Any]:
        call = method(request, timeout=_finite(timeout_s, self._settings), metadata=self._settings.metadata)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise BackdropError(error) from error
        finally:
            call.cancel()


def background(library: str, background_id: str, image: bytes, **fields: Any) -> pb.ImportBackgroundsRequest:
    """A background to import.

    Args:
        library: id of the library.
        background_id: its own.
        image: the encoded picture.
        fields: further fields of `ImportBackgroundsRequest`, such as `title` and `keywords`.
    """
    return pb.ImportBackgroundsRequest(name=f"libraries/{library}/backgrounds/{background_id}", image=image, **fields)


def _recommend_request(library: str, image: bytes, filters: Filters, wishes: Mapping[str, Any]) -> pb.RecommendRequest:
    if isinstance(filters, Mapping):
        filters = [pb.Filter(key=key, any_of=values) for key, values in filters.items()]
    return pb.RecommendRequest(parent=f"libraries/{library}", image=image, filters=filters, **wishes)


def _library_request(library: str) -> pb.GetLibraryRequest:
    return pb.GetLibraryRequest(name=f"libraries/{library}")


def _update_library_request(library: str, rules: Sequence[pb.Filter]) -> pb.UpdateLibraryRequest:
    return pb.UpdateLibraryRequest(name=f"libraries/{library}", rules=rules)


def _page_request(library: str, token: str) -> pb.ListBackgroundsRequest:
    return pb.ListBackgroundsRequest(parent=f"libraries/{library}", page_size=PAGE_SIZE, page_token=token)


def _feedback_request(
    library: str, recommendation_id: str, chosen: Sequence[str], rejected: Sequence[str]
) -> pb.RecordFeedbackRequest:
    return pb.RecordFeedbackRequest(
        parent=f"libraries/{library}", recommendation_id=recommendation_id, chosen=chosen, rejected=rejected
    )


def _finite(timeout_s: float | None, settings: _Settings) -> float | None:
    return None if timeout_s == float("inf") else timeout_s or settings.timeout_s


def _wait_s(error: Any, deadline_s: float) -> float:
    """How long to wait before the next attempt; raises where none is worth it, or there is no time for it."""
    failed = BackdropError(error)
    wait_s = failed.retry_after_s
    waits = failed.code is grpc.StatusCode.RESOURCE_EXHAUSTED and wait_s is not None
    if not waits or wait_s is None or time.monotonic() + wait_s >= deadline_s:
        raise failed from error
    return wait_s
