"""What the OpenAI client's exceptions mean: to our callers, to the circuit, and to a retry."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

import httpx2
import openai

from chassis.circuit import Proof
from chassis.errors import BackdropError
from services.generator.errors import (
    LlmCircuitOpen,
    LlmFailed,
    LlmGarbled,
    LlmRateLimited,
    LlmRefused,
    LlmRejected,
    LlmTimeout,
    LlmUnreachable,
)

RETRY_UNREACHABLE_S = 2.0
RETRY_RATE_LIMITED_S = 5.0


@contextmanager
def mapped() -> Iterator[None]:
    """Turns each failure of the client into one of errors.py."""
    try:
        yield
    except openai.APIStatusError as error:
        raise _from_status(error) from error
    except openai.APIConnectionError as error:
        raise _from_connection(error) from error
    except TimeoutError as error:
        raise LlmTimeout("The language model did not answer in time.") from error
    except (openai.OpenAIError, ValueError) as error:
        raise LlmGarbled("The language model's server did not answer in the form of the OpenAI API.") from error


def never_sent(error: BaseException) -> bool:
    """Whether there was no connection, so that the server cannot have begun to work."""
    return isinstance(error, openai.APIConnectionError) and isinstance(
        error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout
    )


def proof(error: BaseException, took_s: float, patience_s: float) -> Proof:
    """What a failed call says of the language model, to the circuit.

    No connection, one that broke, and HTTP 5xx are failures. Any other answer, a garbled one too, shows that the model
    is there. No answer is a failure only when the model had `patience_s`: a caller in a hurry proves nothing.
    """
    gave_up = isinstance(error, asyncio.CancelledError | TimeoutError | openai.APITimeoutError)
    if gave_up and not never_sent(error):
        return Proof.FAILED if took_s >= patience_s else Proof.NOTHING
    failed = isinstance(error, openai.APIConnectionError | openai.InternalServerError)
    return Proof.FAILED if failed else Proof.ALIVE


def left_alone(wait_s: float) -> LlmCircuitOpen:
    """The error of a call that the circuit does not let through."""
    message = "The language model failed several times in a row and is left alone for a moment."
    return LlmCircuitOpen(message, retry_after_s=wait_s)


def retry_after_s(error: BaseException) -> float | None:
    """The seconds that an overloaded server asks to wait; None where it does not say, or is not overloaded."""
    if not isinstance(error, openai.APIStatusError) or error.status_code not in (429, 503):
        return None
    value = error.response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        return _seconds_until(value)


def _seconds_until(date: str) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except ValueError:
        return None


def _from_connection(error: openai.APIConnectionError) -> BackdropError:
    if isinstance(error, openai.APITimeoutError) and not never_sent(error):
        return LlmTimeout("The language model did not answer in time.")
    return LlmUnreachable(
        "The language model's server cannot be reached, or broke off: see BACKDROP_GENERATOR_LLM_URL.",
        retry_after_s=RETRY_UNREACHABLE_S,
    )


def _from_status(error: openai.APIStatusError) -> BackdropError:
    status, wait_s = error.status_code, retry_after_s(error)
    if status == 429:
        return LlmRateLimited(
            "The language model's server asks us to slow down.",
            retry_after_s=RETRY_RATE_LIMITED_S if wait_s is None else wait_s,
        )
    if status >= 500:
        return LlmFailed(f"The language model's server failed with HTTP {status}.", retry_after_s=wait_s)
    if error.code == "content_filter":
        return LlmRefused("A filter of the language model's server stopped the request.")
    return LlmRejected(
        f"The language model's server refused the request with HTTP {status}: see the key, the model's name and the "
        "address in BACKDROP_GENERATOR_LLM_*.",
        metadata={"http_status": str(status)},
    )
