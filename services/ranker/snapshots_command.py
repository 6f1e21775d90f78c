"""`backdrop-snapshots`: copies of the ranker's embedded store, made and restored while it serves."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any, cast

import grpc
import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from backdrop.ranker.v1 import snapshots_pb2 as pb
from backdrop.ranker.v1 import snapshots_pb2_grpc
from chassis.errors import BackdropError, from_rpc
from chassis.tls import channel_credentials, new_channel

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)
stdout, stderr = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False)

Name = Annotated[str, typer.Argument(help="As `list` shows it.")]


@app.callback()
def connect(
    context: typer.Context,
    target: Annotated[str, typer.Option(help="The ranker: HOST:PORT.")] = "127.0.0.1:50053",
    ca: Annotated[Path | None, typer.Option(help="PEM file of the CA of its certificate: speak TLS.")] = None,
    cert: Annotated[Path | None, typer.Option(help="PEM file of a certificate to show, where it asks for one.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of the private key of that.")] = None,
) -> None:
    """Copies of the ranker's whole embedded store, made and restored while it serves.

    A snapshot is one file in the ranker's folder BACKDROP_RANKER_SNAPSHOTS_PATH. Copy it to another machine: a backup
    on the disk that fails is none. It holds captions, vectors, attributes and feedback of all libraries, and no
    pictures; docs/backup.md tells what else to keep.

        backdrop-snapshots create --keep 7
        backdrop-snapshots list
        backdrop-snapshots restore 20261125T030000Z-1f2e3d4c.tar
    """
    context.obj = (target, ca, cert, key)


@app.command()
def create(
    context: typer.Context,
    keep: Annotated[int | None, typer.Option(min=1, help="Delete all but so many of the latest afterwards.")] = None,
) -> None:
    """Makes a snapshot of all that is stored now. Writes wait for the moment that the files are copied."""
    with _ranker(context, "Making a snapshot") as ranker:
        _create(ranker)
        for each in _whole(ranker)[keep:] if keep else ():
            ranker.DeleteSnapshot(pb.DeleteSnapshotRequest(name=each.name))
            stderr.print(f"Deleted {each.name}")


@app.command("list")
def list_snapshots(context: typer.Context) -> None:
    """Shows all snapshots, the latest first."""
    with _ranker(context, "Asking the ranker") as ranker:
        found = ranker.ListSnapshots(pb.ListSnapshotsRequest()).snapshots
    table = Table("name", "made (UTC)", "size", "embedding model", "image model", box=None)
    for each in found:
        whole = each.HasField("create_time")
        made = f"{each.create_time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S}" if whole else "no whole snapshot"
        table.add_row(each.name, made, decimal(each.size_bytes), each.embedding_model, each.image_model)
    stdout.print(table if found else "There are no snapshots yet: make one with `create`.", soft_wrap=not found)


@app.command()
def restore(
    context: typer.Context,
    name: Name,
    snapshot_first: Annotated[
        bool, typer.Option(help="Make a snapshot of the store as it is, to go back to it.")
    ] = True,
) -> None:
    """Makes the store what it was, all libraries of it, while requests go on."""
    with _ranker(context, f"Restoring {name}") as ranker:
        if snapshot_first:
            _create(ranker)
        ranker.RestoreSnapshot(pb.RestoreSnapshotRequest(name=name))
    stdout.print(f"Restored {name}", markup=False)


@app.command()
def delete(context: typer.Context, name: Name) -> None:
    """Removes a snapshot for good."""
    with _ranker(context, f"Deleting {name}") as ranker:
        ranker.DeleteSnapshot(pb.DeleteSnapshotRequest(name=name))
    stdout.print(f"Deleted {name}", markup=False)


def _create(ranker: Any) -> None:
    made = ranker.CreateSnapshot(pb.CreateSnapshotRequest()).snapshot
    stdout.print(f"Made {made.name}, {decimal(made.size_bytes)}", markup=False)


def _whole(ranker: Any) -> list[pb.Snapshot]:
    found = ranker.ListSnapshots(pb.ListSnapshotsRequest()).snapshots
    return [each for each in found if each.HasField("create_time")]


@contextmanager
def _ranker(context: typer.Context, doing: str) -> Iterator[Any]:
    """A stub to call inside the `with`, which tells what is done and, plainly, what goes wrong."""
    target, *files = context.obj
    try:
        with new_channel(grpc, target, channel_credentials(*files)) as channel, stderr.status(f"{doing} ..."):
            yield snapshots_pb2_grpc.SnapshotServiceStub(channel)
    except grpc.RpcError as error:
        _fail(from_rpc(cast(grpc.aio.AioRpcError, error), "ranker"))
    except BackdropError as error:
        _fail(error)


def _fail(error: BackdropError) -> None:
    stderr.print(error.message, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1) from error


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
