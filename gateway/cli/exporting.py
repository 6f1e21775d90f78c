"""`backdrop export`: a library as one file."""

from pathlib import Path
from typing import Any

import grpc
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc
from chassis.errors import reason_of
from gateway.cli.archive import ArchiveWriter, new_archive
from gateway.cli.client import all_feedback
from gateway.cli.console import fail, out, stderr


def run(stub: gateway_pb2_grpc.GatewayServiceStub, path: Path, library: str, *, force: bool) -> None:
    """Writes every background of a library to `path`, shows how far it is, and lists what could not be exported."""
    if path.exists() and not force:
        fail(f"{path} exists.", "Overwrite it with --force, or name another file.")
    if not path.parent.is_dir():
        fail(f"There is no folder {path.parent}.")
    with new_archive(path) as archive:
        failures = _receive(stub, library, archive)
        for each in all_feedback(stub, library):
            archive.add_feedback(each)
        rules = stub.GetLibrary(pb.GetLibraryRequest(name=f"libraries/{library}")).rules
        archive.add_rules(rules)
    size_mib = path.stat().st_size / 2**20
    out(f"Wrote {archive.count} backgrounds to {path}, {size_mib:.1f} MiB.")
    if archive.feedback_count:
        out(f"It holds the feedback on {archive.feedback_count} recommendations as well.")
    if rules:
        out(f"It holds the library's {len(rules)} rules as well.")
    out(f"Import them, here or elsewhere, with: backdrop import {path} --library NAME")
    for background_id, message in sorted(failures.items()):
        stderr.print(f"[red]failed[/] {background_id}: ", end="")
        stderr.print(message, markup=False, soft_wrap=True)
    if failures:
        raise typer.Exit(1)


def _receive(stub: gateway_pb2_grpc.GatewayServiceStub, library: str, archive: ArchiveWriter) -> dict[str, str]:
    """Adds the backgrounds to the archive as they come; returns, by id, why some could not be exported."""
    columns = (TextColumn("Exporting"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    call: Any = stub.ExportBackgrounds(pb.ExportBackgroundsRequest(parent=f"libraries/{library}"))
    failures: dict[str, str] = {}
    try:
        with Progress(*columns, console=stderr) as progress:
            # How many there are is known at the end.
            task = progress.add_task("", total=None)
            for exported in call:
                if exported.HasField("error"):
                    failures[_id(exported)] = f"{exported.error.message} ({reason_of(exported.error)})"
                    continue
                archive.add(exported)
                size_mib = archive.picture_bytes / 2**20
                progress.update(task, description=f"{archive.count} backgrounds, {size_mib:.1f} MiB")
    except (KeyboardInterrupt, grpc.RpcError):
        out("Broke off. No file was written; run the same command again.")
        raise
    finally:
        call.cancel()
    return failures


def _id(exported: pb.ExportBackgroundsResponse) -> str:
    return exported.background.name.rsplit("/", 1)[1]
