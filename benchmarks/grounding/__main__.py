"""Reads photos, has captions written, judges them and prints the table: `python -m benchmarks.grounding --help`."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from benchmarks.grounding.gold import GoldPhoto, read_folder, read_samples
from benchmarks.grounding.reading import Reading, open_captioner, read_photos
from benchmarks.grounding.steps import (
    Answer,
    Caption,
    Judge,
    Step,
    Tally,
    keep_all,
    keep_unmarked,
    photo_decides,
    tally,
)
from benchmarks.grounding.writing import Request, Writer
from benchmarks.local_llm import running_llm
from gateway.cli.console import stderr, stdout
from services.captioner.config import CaptionerConfig
from services.captioner.features import PhotoReader
from services.generator.claims import ClaimChecker
from services.generator.config import GeneratorConfig
from services.generator.llm_client import open_client
from services.generator.prompt import Features, Subject, load_prompt
from services.generator.wordnet import WordNet

SCENES = 5
MAX_TOKENS = 250
"""Small models that write freely repeat themselves for as long as they may."""
MARGINS = ((0.15, 0.0), (0.15, 0.15), (0.05, 0.05))
"""How far an unmarked caption may score below the template's, and how far above it a marked one has to."""


@dataclass(frozen=True)
class Method:
    """How captions are asked for.

    Attributes:
        guesses: the language model is told also what the captioner is not sure of.
        patterns: it cannot leave the prompt's form.
    """

    name: str
    guesses: bool
    patterns: bool

    def features(self, reading: Reading) -> Features | None:
        """What the language model is told; None when it is not asked."""
        if self.guesses:
            return reading.guessed
        return reading.sure if reading.says_what_it_shows else None


PLAIN = Method("plain model", guesses=True, patterns=False)
IN_FORM = Method("sure features, in form", guesses=False, patterns=True)
FREE = Method("sure features, free", guesses=False, patterns=False)
METHODS = (PLAIN, IN_FORM, FREE)

STEPS: tuple[tuple[str, Step], ...] = (
    ("no check", keep_all),
    ("marked ones dropped", keep_unmarked),
    *((f"score from -{low:.2f}, if marked +{high:.2f}", photo_decides(low, high)) for low, high in MARGINS),
)


def measure(
    photos: Annotated[Path | None, typer.Option(help="Folder of further photos, described in labels.csv.")] = None,
    llm_url: Annotated[str, typer.Option(help="An OpenAI-compatible server; the local model if none.")] = "",
    model: Annotated[str, typer.Option(help="Its model; the only one that it lists if none.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Answers to each photo; for more than one set a temperature.")] = 1,
    judgements: Annotated[Path | None, typer.Option(help="Write every caption and what is wrong with it here.")] = None,
) -> None:
    """Prints how many captions claim what the photo does not show: a thing, or a look (a colour, a material).

    Where no caption of an answer is used the template's is, which counts too; `templates` says how often. The plain
    model has no template: its captions alone count. Marked is a caption with words that no feature supports. It may
    have to score higher against the photo than the template's caption, and one that is not marked may score lower.
    """
    try:
        gold = [*read_samples(), *(read_folder(photos) if photos else [])]
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--photos") from error
    with nullcontext(llm_url) if llm_url else running_llm() as url:
        config = GeneratorConfig(llm_url=url, llm_model=model, max_tokens=MAX_TOKENS, timeout_s=300)
        answers = asyncio.run(_answer_all(gold, config, seeds))
    if judgements:
        judgements.write_text("".join(f"{json.dumps(row)}\n" for row in _rows(gold, answers, seeds)))
    stdout.print(_table(answers))


async def _answer_all(gold: Sequence[GoldPhoto], config: GeneratorConfig, seeds: int) -> dict[Method, list[Answer]]:
    """For each method the answers to each photo, seed by seed."""
    key = config.api_key().get_secret_value()
    async with (
        open_captioner(CaptionerConfig(log_level="warning")) as captioner,
        open_client(config.llm_url, key, config.timeout_s) as client,
    ):
        with Progress(console=stderr, transient=True) as progress:
            task = progress.add_task("Reading photos", total=2 * len(gold))
            readings = await read_photos(captioner, [each.path for each in gold], partial(progress.advance, task))
            writer = Writer(client, config, load_prompt(Subject.PRODUCT), SCENES)
            return {
                method: await _answer(method, gold, readings, captioner, writer, seeds, progress) for method in METHODS
            }


async def _answer(
    method: Method,
    gold: Sequence[GoldPhoto],
    readings: Sequence[Reading],
    captioner: PhotoReader,
    writer: Writer,
    seeds: int,
    progress: Progress,
) -> list[Answer]:
    told = [method.features(reading) for reading in readings]
    requests = [
        Request(features, method.patterns, seed) for features in told for seed in range(1, seeds + 1) if features
    ]
    task = progress.add_task(f"Writing: {method.name}", total=len(requests))
    written = iter(await writer.write_all(requests, partial(progress.advance, task)))
    judge, checker = Judge(), ClaimChecker(WordNet())

    async def caption(photo: GoldPhoto, reading: Reading, texts: Sequence[str]) -> list[Caption]:
        scores = (await captioner.score(reading.embedding, texts)).scores
        return [
            Caption(text, score, checker.unsupported(text, reading.sure), judge.wrong(text, photo.shows))
            for text, score in zip(texts, scores, strict=True)
        ]

    answers = []
    for photo, reading, features in zip(gold, readings, told, strict=True):
        for _ in range(seeds):
            texts = next(written) if features else ()
            template, *captions = await caption(photo, reading, [reading.template, *texts])
            answers.append(Answer(captions, template))
    return answers


def _table(answers: dict[Method, list[Answer]]) -> Table:
    table = Table("", "captions", "wrong", "thing", "look", "templates", box=None)
    for method, answered in answers.items():
        table.add_row(method.name)
        for name, step in STEPS[:1] if method is PLAIN else STEPS:
            table.add_row(f"  {name}", *_cells(tally(answered, step, template=method is not PLAIN)))
    return table


def _cells(counts: Tally) -> list[str]:
    wrong = (counts.wrong, counts.wrong_thing, counts.wrong_look)
    shares = (f"{each} ({each / counts.captions:.0%})" for each in wrong)
    return [str(counts.captions), *shares, f"{counts.templated} of {counts.answers}"]


def _rows(gold: Sequence[GoldPhoto], answers: dict[Method, list[Answer]], seeds: int) -> list[dict[str, object]]:
    return [
        {
            "method": method.name,
            "file": gold[place // seeds].path.name,
            "caption": each.text,
            "score": round(each.score, 3),
            "template": answer.template.text,
            "template_score": round(answer.template.score, 3),
            "marked": each.marked,
            "wrong": {word: kind.value for word, kind in each.wrong.items()},
        }
        for method, answered in answers.items()
        for place, answer in enumerate(answered)
        for each in (answer.template, *answer.captions)
    ]


if __name__ == "__main__":
    typer.run(measure)
