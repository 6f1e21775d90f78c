"""Which languages a model writes."""

from collections.abc import Sequence

from chassis.languages import is_english
from services.generator import gemma

ENGLISH = "en"


def language_of_answer(language: str, model: str, written: Sequence[str]) -> str:
    """The language to answer in when `language` is asked of `model`: it, or English where the model knows no other.

    Args:
        language: BCP 47 tag that was asked for.
        model: the language model's name.
        written: tags of the languages that it writes, each of all regions; none for what is known of the model.
    """
    if is_english(language) or not (_is_among(language, written) if written else model != gemma.NAME):
        return ENGLISH
    return language


def _is_among(language: str, tags: Sequence[str]) -> bool:
    return any(f"{language}-".lower().startswith(f"{tag}-".lower()) for tag in tags)
