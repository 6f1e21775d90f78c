"""What answers of the language model take: tokens and money."""

from dataclasses import dataclass

from prometheus_client import Counter

LLM_TOKENS = Counter(
    "backdrop_generator_llm_tokens", "Tokens by model and kind (prompt, completion).", ["model", "kind"]
)
LLM_COST = Counter("backdrop_generator_llm_cost", "Cost by model, in the currency of the prices.", ["model"])

MILLION = 1_000_000


@dataclass(frozen=True)
class Usage:
    """Tokens that an answer took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost; both 0 where it is not known."""

    prompt: float = 0
    completion: float = 0

    def count(self, model: str, usage: Usage) -> None:
        """Adds an answer of `model` to the metrics."""
        LLM_TOKENS.labels(model, "prompt").inc(usage.prompt_tokens)
        LLM_TOKENS.labels(model, "completion").inc(usage.completion_tokens)
        if self.prompt or self.completion:
            cost = self.prompt * usage.prompt_tokens + self.completion * usage.completion_tokens
            LLM_COST.labels(model).inc(cost / MILLION)
