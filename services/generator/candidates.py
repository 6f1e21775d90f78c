"""What a language model's answer holds: captions and scenes."""

from dataclasses import dataclass
from itertools import cycle
from string import Formatter
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic.types import StringConstraints

MAX_CAPTIONS = 2
"""Captions of an answer: two give the photo a choice; scenes are what the ranking needs more of."""


MAX_CHARS = 240
"""The longest sentence that is taken."""

Model = TypeVar("Model", bound=BaseModel)
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_CHARS)]


class Unreadable(ValueError):
    """The answer is not what was asked for. The text says what is wrong with it, for the model to mend."""


@dataclass(frozen=True)
class Translation:
    """A candidate's sentences in another language."""

    caption: str
    scene: str


@dataclass(frozen=True)
class Candidate:
    """What a photo shows, and the scene that goes with it; a sentence each.

    Attributes:
        unsupported: words of the caption that no feature supports, in their order.
        unsuitable: words of the scene that show what a background must not.
    """

    caption: str
    scene: str
    translation: Translation | None = None
    unsupported: tuple[str, ...] = ()
    unsuitable: tuple[str, ...] = ()


class _Answer(BaseModel):
    captions: list[Sentence] = Field(min_length=1)
    scenes: list[Sentence] = Field(min_length=1)


def read(text: str, count: int, scene_form: str) -> list[Candidate]:
    """The candidates of an answer, also of one inside a fence or prose: each scene once, with one of the captions.

    Args:
        text: what the model wrote.
        count: the most candidates to take.
        scene_form: makes a sentence of the parts of a scene, which stand between `;`.

    Raises:
        Unreadable: it is not the JSON that was asked for, or a sentence is too long.
    """
    answer = validated(_Answer, text)
    captions = cycle(answer.captions[:MAX_CAPTIONS])
    found: dict[str, Candidate] = {}
    for caption, scene in zip(captions, answer.scenes, strict=False):
        sentence = _sentence(scene, scene_form)
        found.setdefault(sentence.casefold(), Candidate(caption, sentence))
    return list(found.values())[:count]


def validated(model: type[Model], text: str) -> Model:
    """The JSON object in `text`, which may stand in a fence or prose.

    Raises:
        Unreadable: there is none, or not of the form that `model` asks for.
    """
    try:
        return model.model_validate_json(text[text.index("{") : text.rindex("}") + 1])
    except ValidationError as error:
        raise Unreadable(_first_problem(error)) from error
    except ValueError as error:
        raise Unreadable("There is no JSON object in the answer.") from error


def _sentence(scene: str, form: str) -> str:
    """The parts of `scene` in the words of `form`; a scene that has no parts is a sentence already."""
    names = [name for _, name, _, _ in Formatter().parse(form) if name]
    parts = [part.strip(" .") for part in scene.split(";")]
    if len(parts) == 1 or len(names) == 1:
        return scene
    if len(parts) != len(names) or not all(parts):
        raise Unreadable(f"scenes: write each as {'; '.join(names)}.")
    values = dict(zip(names, parts, strict=True))
    for name in names:
        if f"{{{name}}} {name}" in form:
            # The model said "cosy mood" where "cosy" was asked for.
            values[name] = values[name].removesuffix(f" {name}")
    sentence = form.format(**values)
    return sentence[0].upper() + sentence[1:]


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]
