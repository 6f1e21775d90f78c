"""`backdrop import`: a folder of pictures and its manifest, or the file of an export, sent as one stream."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import typer
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from slugify import slugify

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc
from chassis.errors import reason_of
from gateway.cli import giving_feedback, keeping_rules
from gateway.cli.archive import open_archive
from gateway.cli.client import UnreadableImage, read_image
from gateway.cli.console import fail, out, stderr
from gateway.cli.manifest import Metadata, read_manifest
from gateway.cli.source import Source

MANIFEST_NAMES = ("manifest.jsonl", "manifest.csv")
MAX_ID_LENGTH = 63


def import_folder(
    stub: gateway_pb2_grpc.GatewayServiceStub,
    directory: Path,
    library: str,
    manifest: Path | None,
    *,
    use_manifest: bool,
    force: bool,
) -> None:
    """Imports every picture below `directory`, shows how far it is, and lists what failed."""
    pictures = find_pictures(directory)
    if not pictures:
        fail(f"{directory} holds no pictures.", "Pictures are files with an ending such as .jpg, .png or .webp.")
    metadata = read_manifest(manifest or default_manifest(directory)) if use_manifest else {}
    sources = {
        background_id: Source(metadata.get(path.name, Metadata()), partial(read_image, path))
        for background_id, path in pictures.items()
    }
    if not _send(stub, Upload(library, sources, force=force), mend_with="--force"):
        raise typer.Exit(1)


def import_file(
    stub: gateway_pb2_grpc.GatewayServiceStub, path: Path, library: str, *, recaption: bool, force: bool
) -> None:
    """Imports every background of the file of an export, with its record unless it is to be captioned anew."""
    with open_archive(path) as archive:
        sources = archive.sources(with_records=not recaption)
        if not sources:
            fail(f"{path} holds no backgrounds.")
        feedback = archive.feedback(f"libraries/{library}")
        # First, so that nobody is recommended what they forbid while the import runs, or when it breaks off.
        keeping_rules.bring(stub, library, archive.rules())
        complete = _send(stub, Upload(library, sources, force=force), mend_with="--recaption --force")
        giving_feedback.record_all(stub, feedback)
    if not complete:
        raise typer.Exit(1)


def _send(stub: gateway_pb2_grpc.GatewayServiceStub, upload: "Upload", mend_with: str) -> bool:
    """Imports, and tells how it went; says whether nothing failed."""
    outcomes = _stream(stub, upload)
    return _report(outcomes, upload, mend_with)


class Upload:
    """The requests of one import; a picture that cannot be sent is noted and left out."""

    def __init__(self, library: str, sources: Mapping[str, Source], *, force: bool) -> None:
        self.total = len(sources)
        self.unsent: dict[str, str] = {}
        self._parent = f"libraries/{library}"
        self._sources = sources
        self._force = force

    def requests(self) -> Iterator[pb.ImportBackgroundsRequest]:
        """One request for each picture that can be read, read when its turn comes."""
        for background_id, source in self._sources.items():
            try:
                request = to_request(f"{self._parent}/backgrounds/{background_id}", source.metadata, force=self._force)
                request.image = source.read_image()
                if source.read_record:
                    request.record = source.read_record()
                yield request
            except UnreadableImage as error:
                self.unsent[background_id] = str(error)
            # A file that nobody here wrote may hold text that is no Unicode, or a time that is none.
            except (ValueError, OverflowError) as error:
                self.unsent[background_id] = f"What the manifest says of it cannot be sent: {error}."


def to_request(name: str, metadata: Metadata, *, force: bool) -> pb.ImportBackgroundsRequest:
    """What is to be imported under a name, without its picture; raises `ValueError` or `OverflowError`."""
    request = pb.ImportBackgroundsRequest(
        name=name,
        title=metadata.title,
        keywords=metadata.keywords,
        force=force,
        attributes=[pb.Attribute(key=key, values=values) for key, values in metadata.attributes.items()],
    )
    if metadata.expire_time:
        request.expire_time.FromDatetime(metadata.expire_time)
    return request


def to_background_id(stem: str) -> str:
    """The id that a picture will have: its file's name in lower case, with dashes."""
    return slugify(stem, max_length=MAX_ID_LENGTH)


def find_pictures(directory: Path) -> dict[str, Path]:
    """The pictures below a folder by the id that each will have."""
    endings = Image.registered_extensions()
    found: dict[str, Path] = {}
    for path in sorted(directory.rglob("*")):
        if path.suffix.lower() not in endings or path.name.startswith(".") or not path.is_file():
            continue
        background_id = to_background_id(path.stem)
        if background_id in found:
            fail(f"{path} and {found[background_id]} would have the same id, {background_id}; rename one.")
        found[background_id] = path
    return found


def default_manifest(directory: Path) -> Path | None:
    """The manifest that lies in a folder, if one does."""
    return next((path for name in MANIFEST_NAMES if (path := directory / name).exists()), None)


def _stream(stub: gateway_pb2_grpc.GatewayServiceStub, upload: Upload) -> list[pb.ImportBackgroundsResponse]:
    columns = (TextColumn("Importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    outcomes: list[pb.ImportBackgroundsResponse] = []
    call: Any = stub.ImportBackgrounds(upload.requests())
    try:
        with Progress(*columns, console=stderr) as progress:
            task = progress.add_task("", total=upload.total)
            for outcome in call:
                outcomes.append(outcome)
                progress.update(task, completed=len(outcomes) + len(upload.unsent))
    except KeyboardInterrupt:
        call.cancel()
        out(f"Stopped. {len(outcomes)} of {upload.total} are done; run the same command again to go on.")
        raise typer.Exit(130) from None
    except grpc.RpcError:
        out(f"Broke off. {len(outcomes)} of {upload.total} are done; run the same command again to go on.")
        raise
    return outcomes


def _report(outcomes: list[pb.ImportBackgroundsResponse], upload: Upload, mend_with: str) -> bool:
    failures = {
        outcome.name.rsplit("/", 1)[1]: f"{outcome.error.message} ({reason_of(outcome.error)})"
        for outcome in outcomes
        if outcome.outcome == pb.OUTCOME_FAILED
    } | upload.unsent
    counts = {name: sum(each.outcome == value for each in outcomes) for name, value in _COUNTED.items()}
    counts["failed"] = len(failures)
    summary = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    out(f"{upload.total} pictures: {summary}.")
    templated = sum(bool(each.background.degraded) for each in outcomes)
    if templated:
        reasons = Counter(each.reason for outcome in outcomes for each in outcome.background.degraded)
        out(f"{templated} are degraded: {', '.join(f'{reason} {count}' for reason, count in reasons.items())}.")
        out(f"See why with: backdrop backgrounds show ID. To try them again: {mend_with}")
    for background_id, message in sorted(failures.items()):
        stderr.print(f"[red]failed[/] {background_id}: ", end="")
        stderr.print(message, markup=False, soft_wrap=True)
    return not failures


_COUNTED = {"new": pb.OUTCOME_CREATED, "updated": pb.OUTCOME_UPDATED, "unchanged": pb.OUTCOME_UNCHANGED}
