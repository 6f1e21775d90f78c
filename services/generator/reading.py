"""Reads the candidates of an answer, also of a sloppy one or of one that was cut off."""

import re
from collections.abc import Callable, Sequence

import json_repair
import structlog

from services.generator.candidates import Candidate, Unreadable
from services.generator.completion import Completion
from services.generator.prompt import Message

WHOLE_STRING = re.compile(r'(?<!\\)"(?=\s*[,\]}])')
"""The end of a value that is known to be whole."""

MAX_QUOTED_CHARS = 2000
"""As much of a bad answer as its writer is shown again."""

log = structlog.get_logger(__name__)


def read(completion: Completion, read_text: Callable[[str], list[Candidate]]) -> list[Candidate]:
    """The candidates that `read_text` finds in an answer; fewer where it was cut off, and never half a sentence.

    Raises:
        Unreadable: there are none.
    """
    try:
        return read_text(completion.text)
    except Unreadable as problem:
        mended = _mended(completion)
        try:
            found = read_text(mended)
        except Unreadable:
            raise problem from None
    log.warning("answer_mended", model=completion.model, found=len(found), cut_off=completion.cut_off)
    return found


def asking_again(answer: Completion, problem: Unreadable) -> Sequence[Message]:
    """The turns that show a model its unreadable answer and ask for a better one."""
    cut_off = " It was cut off at its limit of tokens: be briefer." if answer.cut_off else ""
    wrong = f"That answer could not be read: {problem}{cut_off} Answer again with the JSON object alone."
    return [
        {"role": "assistant", "content": answer.text[:MAX_QUOTED_CHARS] or "{}"},
        {"role": "user", "content": wrong},
    ]


def _mended(completion: Completion) -> str:
    text = completion.text
    if completion.cut_off or not text.rstrip("` \n").endswith("}"):
        ends = [match.end() for match in WHOLE_STRING.finditer(text)]
        text = text[: ends[-1]] if ends else ""
    return str(json_repair.repair_json(text[text.find("{") :] if "{" in text else ""))
