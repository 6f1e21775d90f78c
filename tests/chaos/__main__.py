"""Runs the matrix in namespaces of its own: `python -m tests.chaos [--only captioner ...] [--out FOLDER]`."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from backdrop.client import AsyncClient, background
from benchmarks.samples import LIBRARY as PICTURES
from benchmarks.samples import PRODUCTS
from gateway.cli import stack
from gateway.cli.supervision import Supervisor
from tests.chaos import faults
from tests.chaos.certificates import expire
from tests.chaos.faults import NETWORK, PROCESS, Victim
from tests.chaos.load import DEADLINE_S, FULL, LIBRARY, Load
from tests.chaos.record import Outcome, judge, judge_expiry, markdown

PORT = 50450
DISK_MIB = 1500
FAULT_S = 5.0
HEALTHY_CALLS = 3
GIVE_UP_S = 40.0
PHOTOS = ("coffee-mug", "lipstick", "sofa")
"""The first is asked for again and again, the others take turns."""
INSIDE = "CHAOS_INSIDE"
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
SETTINGS = {
    # Every answer asks the language model, for one caption.
    "BACKDROP_GENERATOR_CACHE_ENTRIES": "1",
    "BACKDROP_GATEWAY_CANDIDATE_COUNT": "1",
}


@dataclass(frozen=True)
class Case:
    """A fault that strikes a part."""

    target: str
    fault: str
    strike: AbstractContextManager[None]


def main() -> int:
    """Enters the namespaces, starts the stack, and writes down what each fault did; 1 when a promise was broken."""
    if INSIDE not in os.environ:
        command = ["unshare", "--mount", "--net", sys.executable, "-m", "tests.chaos", *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, INSIDE: "1"}).returncode
    options = _options()
    outcomes: list[Outcome] = []
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="backdrop-chaos-") as name:
        folder = Path(name)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", name], check=True)
        try:
            with stack.running(folder, PORT, settings=SETTINGS) as supervisor:
                cases = [each for each in _cases(supervisor, folder) if _is_chosen(each, options)]
                asyncio.run(_run(cases, outcomes, options.out))
            if FAKETIME.exists() and (not options.only or "clock" in options.only):
                offset = folder / "offset"
                offset.write_text("+0")
                with stack.running(folder, PORT, settings={**SETTINGS, **_fake_clock(offset)}):
                    asyncio.run(_run(list(_clock_cases(offset)), outcomes, options.out))
            if not options.only or "certificate" in options.only:
                outcomes.append(judge_expiry(asyncio.run(expire(folder / "expiry"))))
                _write(outcomes, options.out)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)
    return int(any(each.problems for each in outcomes))


async def _run(cases: Sequence[Case], outcomes: list[Outcome], out: Path) -> None:
    async with AsyncClient(f"127.0.0.1:{PORT}") as client:
        photo, *new_photos = [(PRODUCTS / f"{each}.jpg").read_bytes() for each in PHOTOS]
        picture = min(PICTURES.glob("*.jpg")).read_bytes()
        async for outcome in client.import_backgrounds(background(LIBRARY, f"a{n}", picture) for n in range(3)):
            assert not outcome.HasField("error"), outcome.error
        load = Load(client, photo, tuple(new_photos), picture)
        putting = asyncio.create_task(load.run())
        await _healthy(load, time.monotonic())
        for case in cases:
            outcomes.append(await _suffer(case, load))
            _write(outcomes, out)
        putting.cancel()
        with suppress(asyncio.CancelledError):
            await putting


async def _suffer(case: Case, load: Load) -> Outcome:
    """One fault: from its beginning to calls that are whole again, and to the end of those that it met."""
    first, known = len(load.seen), set(load.acknowledged)
    began_s = time.monotonic()
    with ExitStack() as striking:
        await asyncio.to_thread(striking.enter_context, case.strike)
        ended_s = time.monotonic() if case.fault == "killed" else None
        await asyncio.sleep(FAULT_S)
    ended_s = ended_s or time.monotonic()
    healthy_s = await _healthy(load, ended_s)
    await asyncio.sleep(max(DEADLINE_S[FULL] - (time.monotonic() - ended_s), 0))
    seen = [each for each in load.seen[first:] if each.began_s >= began_s]
    outcome = judge(case.target, case.fault, seen, healthy_s, len(load.acknowledged - known), len(await load.lost()))
    print(json.dumps(outcome.to_json()), flush=True)
    return outcome


async def _healthy(load: Load, since_s: float) -> float | None:
    """Seconds from `since_s` to the first of several calls in a row, begun after it, that were whole."""
    while time.monotonic() < since_s + GIVE_UP_S:
        calls = sorted(
            (each.began_s, each.whole) for each in load.seen if each.kind == FULL and each.began_s >= since_s
        )
        for place in range(len(calls) - HEALTHY_CALLS + 1):
            if all(whole for _, whole in calls[place : place + HEALTHY_CALLS]):
                return calls[place][0] - since_s
        await asyncio.sleep(0.2)
    return None


def _cases(supervisor: Supervisor, folder: Path) -> Iterator[Case]:
    servers = [*stack.GRPC_SERVERS, stack.LLM]
    for server in servers:
        victim = Victim(server.name, partial(_server, supervisor, server.name), PORT + server.offset)
        for name, fault in {**PROCESS, **NETWORK}.items():
            yield Case(victim.name, name, fault(victim))
    for name, parent in (("captioner's model", "captioner"), ("Qdrant (embedded)", "ranker")):
        victim = Victim(name, partial(_child, supervisor, parent))
        for fault_name, fault in PROCESS.items():
            yield Case(name, fault_name, fault(victim))
    yield Case("disk", "full", faults.full_disk(folder))


def _clock_cases(offset: Path) -> Iterator[Case]:
    for by in ("+1d", "-1d"):
        yield Case("clock", f"jumps {by}", faults.clock_jumped(offset, by))


def _fake_clock(offset: Path) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _server(supervisor: Supervisor, name: str) -> psutil.Process:
    return psutil.Process(next(each.pid for each in supervisor.processes() if each.name == name))


def _child(supervisor: Supervisor, parent: str) -> psutil.Process:
    children = _server(supervisor, parent).children()
    return next(each for each in children if "spawn_main" in " ".join(each.cmdline()))


def _is_chosen(case: Case, options: argparse.Namespace) -> bool:
    return not options.only or any(each in f"{case.target} {case.fault}" for each in options.only)


def _write(outcomes: Sequence[Outcome], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "chaos.json").write_text(json.dumps([each.to_json() for each in outcomes], indent=1))
    (out / "chaos.md").write_text(markdown(outcomes))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of targets and faults")
    parser.add_argument("--out", type=Path, default=Path("chaos"), help="folder for the table (chaos/)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
