"""What a language model can do wrong, each with a reason that callers may rely on."""

from chassis.errors import BackdropError, DeadlineExceeded, FailedPrecondition, ResourceExhausted, Unavailable


class LlmUnreachable(Unavailable):
    """No connection, or one that broke before the answer was complete."""

    reason = "LLM_UNREACHABLE"


class LlmFailed(Unavailable):
    """The server of the language model answered 5xx."""

    reason = "LLM_FAILED"


class LlmRateLimited(ResourceExhausted):
    """The server of the language model answered 429."""

    reason = "LLM_RATE_LIMITED"


class LlmCircuitOpen(Unavailable):
    """The language model failed again and again, and is left alone for some seconds."""

    reason = "LLM_CIRCUIT_OPEN"


class LlmBusy(ResourceExhausted):
    """As many requests wait for the language model as may."""

    reason = "LLM_BUSY"


class LlmTimeout(DeadlineExceeded):
    """The language model did not answer in time."""

    reason = "LLM_TIMEOUT"


class LlmRejected(FailedPrecondition):
    """The server refuses the key, the model's name or the request: the configuration is wrong."""

    reason = "LLM_REJECTED"


class LlmRefused(FailedPrecondition):
    """The model, or a filter of its server, does not want to answer about these features."""

    reason = "LLM_REFUSED"


class LlmGarbled(BackdropError):
    """The answer holds no candidate that can be read. `INTERNAL`."""

    reason = "LLM_GARBLED"
