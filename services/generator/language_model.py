"""A language model behind the OpenAI API."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import openai
import structlog
from openai.types.chat import ChatCompletion
from opentelemetry.trace import Span, SpanKind
from prometheus_client import Histogram

from chassis.circuit import Circuit
from chassis.deadlines import Deadline
from chassis.tracing import span
from services.generator.completion import Completion, read_completion
from services.generator.dialect import Dialect, Question, Sampling
from services.generator.errors import LlmRejected, LlmTimeout
from services.generator.llm_failures import mapped
from services.generator.retries import retrying
from services.generator.usage import Prices
from services.generator.waiting_line import WaitingLine

CHECK_TIMEOUT_S = 5.0

LLM_SECONDS = Histogram(
    "backdrop_generator_llm_seconds",
    "Time of an answer of the language model.",
    buckets=(0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60),
)

log = structlog.get_logger(__name__)

T = TypeVar("T")


class LanguageModel:
    """Asks one model of one server.

    Args:
        client: reaches the server; without retries of its own.
        model: the name to ask for; empty for the only one that the server lists.
        sampling: how answers are drawn.
        dialect: what is sent at first; what the server refuses is left out from then on.
        line: bounds how many requests are at the model and wait for it.
        circuit: leaves a model alone that fails again and again.
        prices: what its tokens cost.
        timeout_s: the most that one answer may take.
        extra_body: further fields of each request.
        check_interval_s: how long a sign of life counts.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        model: str,
        sampling: Sampling,
        dialect: Dialect,
        line: WaitingLine,
        circuit: Circuit,
        prices: Prices,
        timeout_s: float,
        extra_body: dict[str, Any],
        check_interval_s: float,
    ) -> None:
        self._client = client
        self._configured = model
        self._discovered = ""
        self._discovering = asyncio.Lock()
        self._sampling = sampling
        self._first_dialect = dialect
        self._dialects: dict[str, Dialect] = {}
        self._line = line
        self._circuit = circuit
        self._prices = prices
        self._timeout_s = timeout_s
        self._extra_body = extra_body
        self._check_interval_s = check_interval_s
        self._alive_at = float("-inf")

    @property
    def variant(self) -> str:
        """What its answers depend on besides the model and the question."""
        return f"{self._sampling} {self._first_dialect.structured_output} {self._extra_body}"

    async def name(self, deadline: Deadline) -> str:
        """The model's name; the server is asked once, when none was configured.

        Raises:
            BackdropError: one of those in errors.py.
        """
        if not self._configured and not self._discovered:
            with mapped():
                async with asyncio.timeout(deadline.left_s), self._discovering:
                    self._discovered = self._discovered or await self._bounded(deadline, self._only_model)
        return self._configured or self._discovered

    async def complete(self, question: Question, deadline: Deadline) -> Completion:
        """Asks for an answer; `deadline` bounds the retries, and whoever waits ends the call.

        Raises:
            BackdropError: one of those in errors.py.
        """
        self._circuit.check()
        model = await self.name(deadline)
        async with self._line.place():
            try:
                with self._chat_span(model) as chat, mapped(), LLM_SECONDS.time():
                    answer = await self._ask(model, question, deadline)
                    completion = read_completion(answer, model)
                    _tell(chat, completion)
            except LlmRejected:
                self._discovered = ""
                raise
        self._alive_at = time.monotonic()
        self._prices.count(model, completion.usage)
        return completion.unless_refused()

    def _chat_span(self, model: str) -> AbstractContextManager[Span]:
        """By the conventions of OpenTelemetry for generative AI; never what was said."""
        attributes: dict[str, str | float] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": model,
            "gen_ai.request.temperature": self._sampling.temperature,
        }
        return span(f"chat {model}", attributes, kind=SpanKind.CLIENT)

    async def check(self) -> None:
        """Raises while the server does not answer or refuses; a recent answer counts as a sign of life."""
        if time.monotonic() - self._alive_at < self._check_interval_s:
            return
        with mapped():
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await self._client.models.list()
        self._alive_at = time.monotonic()

    async def _ask(self, model: str, question: Question, deadline: Deadline) -> ChatCompletion:
        """Asks in the dialect that the server knows, found by what it refuses."""
        dialect = known = self._dialects.get(model, self._first_dialect)
        while True:
            request = dialect.request(question, self._sampling)
            try:
                answer = await self._bounded(deadline, self._create, model=model, **request)
            except openai.APIStatusError as refusal:
                weaker = dialect.without(refusal)
                if weaker is None:
                    raise
                dialect = weaker
            else:
                if dialect != known:
                    self._remember(model, dialect)
                return answer

    def _remember(self, model: str, dialect: Dialect) -> None:
        if self._dialects.get(model) != dialect:
            log.warning(
                "server_knows_less",
                model=model,
                structured_output=dialect.structured_output,
                refused=sorted(dialect.refused),
            )
        self._dialects[model] = dialect

    async def _create(self, **request: Any) -> ChatCompletion:
        answer: ChatCompletion = await self._client.chat.completions.create(**request, extra_body=self._extra_body)
        return answer

    async def _only_model(self) -> str:
        return _only([each.id async for each in self._client.models.list()])

    async def _bounded(self, deadline: Deadline, call: Callable[..., Awaitable[T]], **arguments: Any) -> T:
        """Makes a call within its time-out, through the circuit, and again where that is safe."""

        async def attempt() -> T:
            with self._circuit.attempt():
                async with asyncio.timeout(self._timeout_s):
                    return await call(**arguments)

        try:
            return await retrying(deadline)(attempt)
        except TimeoutError as error:
            raise LlmTimeout(f"The language model did not answer in {self._timeout_s:g} s.") from error


def _tell(chat: Span, completion: Completion) -> None:
    chat.set_attribute("gen_ai.response.model", completion.model)
    chat.set_attribute("gen_ai.usage.input_tokens", completion.usage.prompt_tokens)
    chat.set_attribute("gen_ai.usage.output_tokens", completion.usage.completion_tokens)


def _only(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    listed = ", ".join(names[:10]) or "none"
    raise LlmRejected(f"The server lists {len(names)} models ({listed}): name one in BACKDROP_GENERATOR_LLM_MODEL.")
