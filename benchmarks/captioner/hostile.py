"""`python -m benchmarks.captioner.hostile`: thousands of hostile images between good ones, through a real captioner."""

import asyncio
import itertools
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer

from backdrop.captioner.v1 import captioner_pb2 as pb
from benchmarks.captioner import load
from benchmarks.captioner.photos import read_photos
from benchmarks.captioner.processes import free_address, running_server
from benchmarks.captioner.targets import Answer, Call, Captioner
from gateway.cli.console import fail, stdout
from tests.hostile import hostile_images

IN_FLIGHT = 16
HOSTILE_PER_GOOD = 9
TIMEOUT_S = 60
LEAST_COSINE = 0.9999
RETRY_S = 0.2
# A damaged photo may still be readable; one that is not must be blamed on itself.
FAIR_REASONS = {"INVALID_ARGUMENT"}


def main(
    count: Annotated[int, typer.Option(min=1, help="Hostile images.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the hostile images.")] = 0,
) -> None:
    """Fails unless each call ends, no process dies, and each good photo is read as it is read alone."""
    with tempfile.TemporaryDirectory(prefix="backdrop-") as folder:
        photos = read_photos(Path(folder) / "photos")
        target = Captioner(free_address(), taxonomy="product")
        settings = {"BACKDROP_CAPTIONER_PORT": target.address.rpartition(":")[2]}
        command = [sys.executable, "-m", "services.captioner"]
        log = Path(folder) / "captioner.log"
        with running_server(command, settings, log, lambda: load.embed(target, photos[:1])) as process:
            before = _processes(process)
            problems = asyncio.run(_attack(target, photos, hostile_images(count, seed)))
            if _processes(process) != before:
                problems.append("a process of the captioner ended")
    if problems:
        fail(f"{len(problems)} problems", *problems[:20])


def _processes(process: psutil.Process) -> set[int]:
    return {each.pid for each in [process, *process.children(recursive=True)]}


async def _attack(target: Captioner, photos: Sequence[bytes], hostile: Iterator[bytes]) -> list[str]:
    """Everything that went wrong, a line each."""
    async with target.open(TIMEOUT_S) as call:
        alone = [_parse(await call(target.request(photo))) for photo in photos]
        problems: list[str] = []
        outcomes: Counter[str] = Counter()
        mixed = _mix(len(photos), hostile)

        async def send_on() -> None:
            for good, image in mixed:
                answer = await _insist(call, target.request(photos[good] if good is not None else image))
                outcomes[f"{'hostile' if good is None else 'good'}: {answer.reason or answer.outcome}"] += 1
                if good is None and answer.outcome == "failed" and answer.reason not in FAIR_REASONS:
                    problems.append(f"a hostile image of {len(image)} bytes ended {answer.reason}")
                elif good is not None and (problem := _difference(answer, alone[good])):
                    problems.append(f"good photo {good}: {problem}")

        await asyncio.gather(*(send_on() for _ in range(IN_FLIGHT)))
    stdout.print(*(f"{outcome}: {number}" for outcome, number in sorted(outcomes.items())), sep="\n")
    return problems


def _mix(good: int, hostile: Iterator[bytes]) -> Iterator[tuple[int | None, bytes]]:
    """The index of a good photo, or a hostile image."""
    turn = itertools.cycle(range(good))
    for number, image in enumerate(hostile):
        if number % HOSTILE_PER_GOOD == 0:
            yield next(turn), b""
        yield None, image


async def _insist(call: Call, request: bytes) -> Answer:
    """Comes again as long as the captioner has too much to do: that is no fault."""
    while (answer := await call(request)).outcome == "rejected":
        await asyncio.sleep(RETRY_S)
    return answer


def _parse(answer: Answer) -> pb.ExtractFeaturesResponse:
    if answer.outcome != "answered":
        raise ValueError(f"a good photo, alone, ended {answer.outcome} {answer.reason}")
    return pb.ExtractFeaturesResponse.FromString(answer.payload)


def _difference(answer: Answer, alone: pb.ExtractFeaturesResponse) -> str:
    """How a good photo's answer differs from its answer alone; empty when it does not."""
    if answer.outcome != "answered":
        return f"ended {answer.reason}"
    response = _parse(answer)
    cosine = float(np.dot(response.embedding.values, alone.embedding.values))
    if cosine < LEAST_COSINE:
        return f"its embedding has a cosine of {cosine:.5f} with the one alone"
    return "" if _labels(response) == _labels(alone) else f"{_labels(response)} instead of {_labels(alone)}"


def _labels(response: pb.ExtractFeaturesResponse) -> list[list[str]]:
    return [[label.name for label in feature.labels] for feature in response.features]


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    typer.run(main)
