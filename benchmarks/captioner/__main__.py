"""`make bench-captioner`: the captioner against its bare model, against serving one at a time, and against a peer."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from platformdirs import user_cache_path
from rich.console import Console

from benchmarks.captioner.checkpoint import ARCHITECTURE, write_random_checkpoint
from benchmarks.captioner.machine import describe_machine
from benchmarks.captioner.peers.clip_folder import write_clip_folder
from benchmarks.captioner.photos import read_photos
from benchmarks.captioner.plot import draw
from benchmarks.captioner.report import tables, to_json
from benchmarks.captioner.results import SERVICE, Results, Spread
from benchmarks.captioner.session import Durations, Session, find_best_configuration, open_session
from gateway.cli.console import fail, stderr, stdout

LEVELS = (0.5, 0.8, 1.0, 1.5, 2.0)
FULL = Durations(trial=4, closed=20, lone=8, level=20, overload=60)
QUICK = Durations(trial=1, closed=6, lone=2, level=3, overload=6)
WIDTH = 130
NAME = "captioner-performance"
CACHE = user_cache_path("backdrop") / "benchmarks"


def main(
    model: Annotated[
        str, typer.Option(help="As BACKDROP_CAPTIONER_MODEL; by default ViT-B-32 with random weights.")
    ] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Times that each arm is measured.")] = 3,
    clients: Annotated[int, typer.Option(min=1, help="Requests in flight in closed load.")] = 32,
    quick: Annotated[bool, typer.Option("--quick", help="Seconds instead of minutes, to see that it works.")] = False,
    peer_python: Annotated[
        Path | None, typer.Option(help="Python of an environment with infinity-emb: see benchmarks/captioner/peers.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the picture and the raw results.")] = Path(".backdrop"),
) -> None:
    """Measures, prints ratios, and writes a picture and the raw results."""
    if model and peer_python:
        fail("A peer is measured with the default weights alone.", "Leave out --model or --peer-python.")
    CACHE.mkdir(parents=True, exist_ok=True)
    checkpoint = write_random_checkpoint(CACHE)
    _set_environment(model or f"open_clip:{ARCHITECTURE}:{checkpoint}")
    peer = (peer_python, write_clip_folder(checkpoint, CACHE / f"{ARCHITECTURE}-random")) if peer_python else None
    photos = read_photos(CACHE / "photos")
    with (
        tempfile.TemporaryDirectory(prefix="backdrop-") as logs,
        open_session(photos, QUICK if quick else FULL, clients, Path(logs), peer) as session,
    ):
        results = measure(session, model or f"{ARCHITECTURE}, random weights", rounds)
    _show(results, output)


def measure(session: Session, model: str, rounds: int) -> Results:
    """All parts, one after another."""
    stderr.print("Looking for the bare loop's best configuration")
    runtime, configuration = session.bare(find_best_configuration, session.photos, session.durations.trial)
    agreement = session.agreement()
    measured = []
    for number in range(rounds):
        stderr.print(f"Round {number + 1} of {rounds}")
        measured.append(session.measure_round(configuration, backwards=number % 2 == 1))
    capacity = Spread([each[SERVICE].images_per_s for each in measured]).median
    stderr.print(f"Open load, {', '.join(map(str, LEVELS))} times {capacity:.1f} images/s")
    levels = [session.measure_level(each, capacity) for each in LEVELS]
    stderr.print(f"Twice the capacity for {session.durations.overload:.0f} s")
    overload = session.measure_overload()
    return Results(describe_machine(), model, runtime, configuration, agreement, measured, levels, overload)


def _set_environment(model: str) -> None:
    """What the captioner and the bare loop have in common; other settings of the captioner are the caller's."""
    os.environ["BACKDROP_CAPTIONER_MODEL"] = model
    # As the captioner sets it: threads that wait by spinning would take the cores from the other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _show(results: Results, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    draw(results, output / f"{NAME}.png")
    (output / f"{NAME}.json").write_text(to_json(results))
    facts = {**results.machine, "model": f"{results.model}: {results.runtime}", "bare loop": str(results.configuration)}
    console = Console(highlight=False, width=max(WIDTH, stdout.width))
    console.print(*(f"{name}: {value}" for name, value in facts.items()), sep="\n")
    console.print("", *_spaced(tables(results)), f"{output / NAME}.png, {output / NAME}.json", sep="\n")


def _spaced(parts: Sequence[object]) -> list[object]:
    return [each for part in parts for each in (part, "")]


if __name__ == "__main__":
    typer.run(main)
