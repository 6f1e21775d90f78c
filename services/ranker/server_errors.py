"""The errors of a Qdrant server's client as those of a store."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import structlog
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from chassis.errors import BackdropError
from services.ranker.vector_store import StoreFailed, StoreRefused, StoreUnreachable

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 1.0


@contextmanager
def wrapped_errors() -> Iterator[None]:
    """Turns the client's errors into the store's."""
    try:
        yield
    except ResourceExhaustedResponse as error:
        raise _unreachable(error.retry_after_s) from error
    except ApiException as error:
        raise _to_store_error(error) from error


def _to_store_error(error: ApiException) -> BackdropError:
    if isinstance(error, ResponseHandlingException) and isinstance(error.source, httpx.TransportError):
        return _unreachable()
    status = (error.status_code or 0) if isinstance(error, UnexpectedResponse) else 0
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return StoreRefused("The Qdrant server does not accept the key in BACKDROP_RANKER_QDRANT_API_KEY.")
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return _unreachable()
    log.error("store_failed", error=repr(getattr(error, "source", error)))
    return StoreFailed()


def _unreachable(retry_after_s: float = RETRY_AFTER_S) -> StoreUnreachable:
    return StoreUnreachable(
        "The Qdrant server at BACKDROP_RANKER_QDRANT_URL does not answer; try again.", retry_after_s=retry_after_s
    )
