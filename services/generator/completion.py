"""An answer of the language model, as its server sent it."""

from dataclasses import dataclass

from openai.types.chat import ChatCompletion

from services.generator.errors import LlmGarbled, LlmRefused
from services.generator.usage import Usage


@dataclass(frozen=True)
class Completion:
    """An answer as the model wrote it, not parsed yet.

    Attributes:
        cut_off: the answer ended at the limit of tokens.
        refused: the model or a filter did not want to answer.
    """

    text: str
    model: str
    usage: Usage
    cut_off: bool = False
    refused: bool = False

    def unless_refused(self) -> "Completion":
        """Itself.

        Raises:
            LlmRefused: it is a refusal.
        """
        if self.refused:
            raise LlmRefused("The language model refused to write about these features.")
        return self


def read_completion(answer: ChatCompletion, model: str) -> Completion:
    """The first choice of an answer of `model`.

    The client does not check what a server sends under 200, so any part may be missing or of another kind.

    Raises:
        LlmGarbled: it is no chat completion.
    """
    choices = getattr(answer, "choices", None)
    if not isinstance(choices, list):
        raise LlmGarbled("The language model's server did not send a chat completion.")
    choice = choices[0] if choices else None
    message, finish_reason = getattr(choice, "message", None), getattr(choice, "finish_reason", None)
    usage = getattr(answer, "usage", None)
    return Completion(
        text=_text(getattr(message, "content", None)),
        model=_text(getattr(answer, "model", None)) or model,
        usage=Usage(_count(usage, "prompt_tokens"), _count(usage, "completion_tokens")),
        cut_off=finish_reason == "length",
        refused=finish_reason == "content_filter" or bool(getattr(message, "refusal", None)),
    )


def _text(value: object) -> str:
    """A text that can be sent on: JSON may hold halves of characters."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _count(usage: object, name: str) -> int:
    value = getattr(usage, name, None)
    return max(0, min(value, 2**31 - 1)) if isinstance(value, int) else 0
