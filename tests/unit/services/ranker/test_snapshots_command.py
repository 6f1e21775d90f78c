"""The operator's command, against a real ranker's SnapshotService."""

import asyncio
from pathlib import Path

from typer.testing import CliRunner

from backdrop.ranker.v1 import snapshots_pb2_grpc
from chassis import server
from services.ranker.config import RankerConfig
from services.ranker.snapshot_servicer import SNAPSHOT_SERVICE_NAME, SnapshotServicer
from services.ranker.snapshots import Snapshots
from services.ranker.snapshots_command import app
from services.ranker.text_embedding import TextEmbedder
from tests.unit.services.ranker.fakes import WordCounter
from tests.unit.services.ranker.test_snapshots import delete, held, opened, write


def application(snapshots: Snapshots | None) -> server.Application:
    servicer = SnapshotServicer(snapshots)
    add = snapshots_pb2_grpc.add_SnapshotServiceServicer_to_server
    return server.Application(services={SNAPSHOT_SERVICE_NAME: lambda to: add(servicer, to)})


async def run(port: int, *arguments: str) -> str:
    command = ["--target", f"127.0.0.1:{port}", *arguments]
    result = await asyncio.to_thread(CliRunner().invoke, app, command, env={"COLUMNS": "200"})
    return f"{result.exit_code}: {result.output}"


async def test_the_command_makes_lists_restores_and_deletes(tmp_path: Path) -> None:
    with TextEmbedder(WordCounter(), 100) as embedder:
        async with (
            opened(tmp_path / "store", embedder) as (index, snapshots),
            server.start(RankerConfig(port=0), application(snapshots)) as running,
        ):
            await write(index, "oak")
            assert "Made 20" in await run(running.port, "create")
            [first] = [each.name for each in await snapshots.all()]
            assert first in await run(running.port, "list")
            await delete(index, "oak")

            assert f"Restored {first}" in await run(running.port, "restore", first)

            assert await held(index) == {"oak"}
            assert len(await snapshots.all()) == 2
            assert f"Deleted {first}" in await run(running.port, "delete", first)
            said = await run(running.port, "restore", first)
            assert said.startswith("1:")
            assert "There is no snapshot" in said
            assert "use a name that ListSnapshots gives" in await run(running.port, "delete", "../current")


async def test_with_a_qdrant_server_the_command_says_what_to_use(tmp_path: Path) -> None:
    async with server.start(RankerConfig(port=0), application(None)) as running:
        assert "server's own snapshots" in await run(running.port, "list")
