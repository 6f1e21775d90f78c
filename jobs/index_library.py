"""`python -m jobs.index_library`: fills a library with the pictures of a folder or an object store, on Ray Data."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import grpc
import structlog
import typer
from ray.exceptions import RayError

from backdrop.gateway.v1 import gateway_pb2 as pb
from chassis.config import load
from chassis.cores import usable_cores
from chassis.errors import BackdropError, Unavailable
from gateway.cli.client import CA_VARIABLE, KEY_VARIABLE, connect, explained_errors
from gateway.cli.console import fail, out
from gateway.cli.importing import default_manifest
from gateway.cli.manifest import Metadata, read_manifest
from gateway.config import GatewayConfig
from gateway.peers.generator import Generator
from jobs.cluster import ClusterUnusable, joined
from jobs.display import Display
from jobs.library import Door
from jobs.pictures import open_source
from jobs.pipeline import Workers, run
from jobs.report import Report
from jobs.workers import Plan
from services.captioner.config import CaptionerConfig

SOME_FAILED = 3
"""The exit code when the job is through and some pictures failed; 1 when it stopped, 130 for Ctrl-C."""

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def index_library(
    source: Annotated[str, typer.Argument(help="Folder of pictures, or s3://BUCKET/PREFIX, gs://..., az://...")],
    library: Annotated[str, typer.Option("--library", "-l", help="The library's id: a-z, 0-9 and dashes.")] = "default",
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="CSV or JSON lines with file, title, keywords, expire_time, and attributes of your own, as for"
            " backdrop import. [default: manifest.jsonl or .csv in the folder]",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="How many actors hold the captioner's model.")] = 1,
    cpus: Annotated[
        float | None,
        typer.Option(min=0.1, help="CPUs of each, for decoding and, without a GPU, the model. [default: a fair share]"),
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each; 0.5 lets two share one.")] = 0,
    generator: Annotated[
        str | None, typer.Option(help="The generator's HOST:PORT, to write captions. [default: templates write them]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Read and import unchanged pictures as well.")] = False,
    report: Annotated[
        Path, typer.Option(help="Where to list the pictures that failed, as JSON lines.", dir_okay=False)
    ] = Path("index-report.jsonl"),
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="What the machines cost an hour, all together; shows the cost.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster: auto, or HOST:PORT. [default: this machine]", envvar="RAY_ADDRESS"),
    ] = None,
    target: Annotated[str, typer.Option(envvar="BACKDROP_TARGET", help="The gateway's HOST:PORT.")] = "127.0.0.1:50050",
) -> None:
    """Fills a library with many pictures, read by as many workers as there are machines for.

    The workers read pictures with the captioner's own code and the model that BACKDROP_CAPTIONER_MODEL names, which
    must be the installation's, and import them through the gateway, with the key in BACKDROP_API_KEY if it asks for
    one. The captioner service is not asked.

    Run it again at any time: what the library has as it is, is neither decoded nor read. A bad picture is a line in
    the report, and the rest goes on; the exit code then is 3.

    On this machine: `python -m jobs.index_library pictures/ --library shop --workers 2`

    On a cluster: `python -m jobs.index_library s3://bucket/pictures --address auto --workers 8 --gpus 1 --cpus 6`
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    _require_gateway(target, library)
    if generator:
        asyncio.run(_require_generator(generator))
    metadata = read_manifest(manifest or (None if "://" in source else default_manifest(Path(source))))
    cpus = cpus or max(1, usable_cores() // workers)
    try:
        open_source(source)
        ca = os.environ.get(CA_VARIABLE)
        door = Door(target, os.environ.get(KEY_VARIABLE), Path(ca) if ca else None)
        plan = Plan(source, door, _captioner(cpus), generator, load(GatewayConfig).grounding_margin, force)
        display = Display(source, price_per_hour)
        with Report(report) as taken_down:
            _index(plan, f"libraries/{library}", metadata, Workers(workers, cpus, gpus), address, display, taken_down)
    except BackdropError as error:
        fail(error.message)
    if taken_down.counts["failed"]:
        raise typer.Exit(SOME_FAILED)


def _index(
    plan: Plan,
    parent: str,
    metadata: Mapping[str, Metadata],
    workers: Workers,
    address: str | None,
    display: Display,
    report: Report,
) -> None:
    """Runs the job to its end; Ctrl-C and what stops it leave with what was done said."""
    try:
        with joined(address, workers), display.shown():
            for row in run(plan, parent, metadata, workers):
                if row["outcome"] == "stopped":
                    raise Unavailable(f"{row['message']} Run the same command again to go on.")
                report.add(row)
                display.update(report)
    except KeyboardInterrupt:
        out("Stopped; run the same command again to go on.")
        raise typer.Exit(130) from None
    except RayError as error:
        raise ClusterUnusable(f"Ray gave up; run the same command again to go on. {error}") from error
    finally:
        display.summary(report)


def _require_gateway(target: str, library: str) -> None:
    """Ends the command with what is wrong when the gateway does not answer, or does not let us in."""
    with explained_errors(target), connect(target) as stub:
        try:
            stub.GetBackground(pb.GetBackgroundRequest(name=f"libraries/{library}/backgrounds/none"), timeout=10)
        except grpc.RpcError as error:
            # The library is new, or has no picture of that name: the answer is all that is asked for.
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise


async def _require_generator(target: str) -> None:
    """Ends the command when no captions would be written: templates are what you get by not asking for a generator."""
    try:
        async with Generator.connect(target) as peer:
            await peer.check()
    except BackdropError as error:
        fail(f"{error.message} It was looked for at {target} (--generator); without it, templates write the captions.")


def _captioner(cpus: float) -> CaptionerConfig:
    """As the environment has it; each worker computes and decodes on its own CPUs alone."""
    config = load(CaptionerConfig)
    own = max(1, round(cpus))
    pending = 4 * config.max_batch
    return config.model_copy(
        update={
            "log_level": "error",
            "threads": config.threads or own,
            "decode_threads": own,
            "max_pending": max(config.max_pending, pending),
        }
    )


def main() -> None:
    """The command."""
    app()


if __name__ == "__main__":
    main()
