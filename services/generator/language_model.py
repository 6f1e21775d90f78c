"""A language model behind the OpenAI API, and what its failures mean."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from openai.types.shared_params import ResponseFormatJSONSchema
from prometheus_client import Counter, Histogram

from chassis.errors import BackdropError
from services.generator.errors import LlmFailed, LlmGarbled, LlmRateLimited, LlmRejected, LlmTimeout, LlmUnreachable
from services.generator.prompt import Message

RETRY_UNREACHABLE_S = 2.0
RETRY_RATE_LIMITED_S = 5.0
CHECK_TIMEOUT_S = 5.0

LLM_TOKENS = Counter(
    "backdrop_generator_llm_tokens", "Tokens by model and kind (prompt, completion).", ["model", "kind"]
)
LLM_SECONDS = Histogram(
    "backdrop_generator_llm_seconds",
    "Time of an answer of the language model.",
    buckets=(0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60),
)
LLM_ERRORS = Counter("backdrop_generator_llm_errors", "Failed calls of the language model by reason.", ["reason"])


@dataclass(frozen=True)
class Usage:
    """Tokens that an answer took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Completion:
    """Candidates as the model wrote them, not parsed yet."""

    texts: Sequence[str]
    model: str
    usage: Usage


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn; `seed` -1 and `max_tokens` 0 are not sent."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int


class LanguageModel:
    """Asks one model of one server.

    Args:
        client: reaches the server; without retries of its own, as the caller's deadline is short.
        model: the name to ask for; empty for the only one that the server lists.
        sampling: how answers are drawn.
        extra_body: further fields of each request.
        check_interval_s: how long a sign of life counts.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        model: str,
        sampling: Sampling,
        extra_body: dict[str, Any] | None = None,
        check_interval_s: float = 0,
    ) -> None:
        self._client = client
        self._configured = model
        self._discovered = ""
        self._sampling = sampling
        self._extra_body = extra_body
        self._check_interval_s = check_interval_s
        self._alive_at = float("-inf")

    async def name(self, timeout_s: float) -> str:
        """The model's name; the server is asked once, when none was configured.

        Raises:
            BackdropError: one of those in errors.py.
        """
        if not self._configured and not self._discovered:
            async with _failures_mapped(timeout_s):
                self._discovered = _only_model([each.id async for each in self._client.models.list()])
        return self._configured or self._discovered

    async def complete(
        self, messages: Sequence[Message], schema: dict[str, Any], count: int, timeout_s: float
    ) -> Completion:
        """Asks for `count` candidates in one call; a server that knows no `n` answers with one.

        Raises:
            BackdropError: one of those in errors.py.
        """
        give_up_at = time.monotonic() + timeout_s
        model = await self.name(timeout_s)
        with LLM_SECONDS.time():
            try:
                async with _failures_mapped(give_up_at - time.monotonic()):
                    answer = await self._ask(model, messages, schema, count)
            except LlmRejected:
                self._discovered = ""
                raise
        self._alive_at = time.monotonic()
        return _completion(answer, model)

    async def check(self) -> None:
        """Raises while the server does not answer or refuses; a recent answer counts as a sign of life."""
        if time.monotonic() - self._alive_at < self._check_interval_s:
            return
        async with _failures_mapped(CHECK_TIMEOUT_S):
            await self._client.models.list()
        self._alive_at = time.monotonic()

    async def _ask(self, model: str, messages: Sequence[Message], schema: dict[str, Any], count: int) -> ChatCompletion:
        sampling = self._sampling
        response_format: ResponseFormatJSONSchema = {
            "type": "json_schema",
            "json_schema": {"name": "candidate", "strict": True, "schema": schema},
        }
        return await self._client.chat.completions.create(
            model=model,
            messages=cast(Sequence[ChatCompletionMessageParam], messages),
            response_format=response_format,
            n=count,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens or openai.omit,
            seed=openai.omit if sampling.seed < 0 else sampling.seed,
            extra_body=self._extra_body,
        )


def _only_model(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    listed = ", ".join(names[:10]) or "none"
    raise LlmRejected(f"The server lists {len(names)} models ({listed}): name one in BACKDROP_GENERATOR_LLM_MODEL.")


def _completion(answer: ChatCompletion, model: str) -> Completion:
    # A server may call itself compatible and send something else under 200; the client does not check.
    if not isinstance(answer, ChatCompletion) or not isinstance(answer.choices, list):
        raise _counted(LlmGarbled("The language model's server did not send a chat completion."))
    usage = Usage()
    if answer.usage is not None:
        usage = Usage(answer.usage.prompt_tokens or 0, answer.usage.completion_tokens or 0)
    LLM_TOKENS.labels(model, "prompt").inc(usage.prompt_tokens)
    LLM_TOKENS.labels(model, "completion").inc(usage.completion_tokens)
    texts = [choice.message.content or "" for choice in answer.choices if choice.message is not None]
    return Completion(texts, answer.model or model, usage)


@asynccontextmanager
async def _failures_mapped(timeout_s: float) -> AsyncIterator[None]:
    """Bounds what is done inside by `timeout_s`, and turns each failure into one of errors.py."""
    try:
        # The client's own timeout is for each read, which a server that trickles never exceeds.
        async with asyncio.timeout(timeout_s):
            yield
    except BackdropError as error:
        raise _counted(error) from error
    except (TimeoutError, openai.APITimeoutError) as error:
        raise _counted(LlmTimeout(f"The language model did not answer in {timeout_s:.1f} s.")) from error
    except openai.APIStatusError as error:
        raise _counted(_from_status(error)) from error
    except openai.APIConnectionError as error:
        raise _counted(
            LlmUnreachable(
                "The language model's server cannot be reached, or broke off: see BACKDROP_GENERATOR_LLM_URL.",
                retry_after_s=RETRY_UNREACHABLE_S,
            )
        ) from error
    except (openai.OpenAIError, ValueError) as error:
        raise _counted(
            LlmGarbled("The language model's server did not answer in the form of the OpenAI API.")
        ) from error


def _from_status(error: openai.APIStatusError) -> BackdropError:
    status = error.status_code
    if status == 429:
        return LlmRateLimited("The language model's server asks us to slow down.", retry_after_s=_retry_after_s(error))
    if status >= 500:
        return LlmFailed(f"The language model's server failed with HTTP {status}.")
    return LlmRejected(
        f"The language model's server refused the request with HTTP {status}: see the key, the model's name and the "
        "address in BACKDROP_GENERATOR_LLM_*.",
        metadata={"http_status": str(status)},
    )


def _retry_after_s(error: openai.APIStatusError) -> float:
    try:
        return max(0.0, float(error.response.headers["retry-after"]))
    except (KeyError, ValueError):
        return RETRY_RATE_LIMITED_S


def _counted(error: BackdropError) -> BackdropError:
    LLM_ERRORS.labels(error.reason).inc()
    return error
