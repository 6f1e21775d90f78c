"""`backdrop import`: a folder of pictures and its manifest, sent as one stream."""

from collections import Counter
from collections.abc import Iterator, Mapping
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
from gateway.cli.client import UnreadableImage, read_image
from gateway.cli.console import fail, out, stderr
from gateway.cli.manifest import Metadata, read_manifest

MANIFEST_NAMES = ("manifest.jsonl", "manifest.csv")
MAX_ID_LENGTH = 63


def run(
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
    metadata = read_manifest(manifest or _default_manifest(directory)) if use_manifest else {}
    upload = Upload(library, pictures, metadata, force=force)
    outcomes = _stream(stub, upload)
    _report(outcomes, upload)


class Upload:
    """The requests of one import; a file that cannot be sent is noted and left out."""

    def __init__(
        self, library: str, pictures: Mapping[str, Path], metadata: Mapping[str, Metadata], *, force: bool
    ) -> None:
        self.total = len(pictures)
        self.unsent: dict[str, str] = {}
        self._parent = f"libraries/{library}"
        self._pictures = pictures
        self._metadata = metadata
        self._force = force

    def requests(self) -> Iterator[pb.ImportBackgroundsRequest]:
        """One request for each picture that can be read, read when its turn comes."""
        for background_id, path in self._pictures.items():
            known = self._metadata.get(path.name, Metadata())
            try:
                image = read_image(path)
            except UnreadableImage as error:
                self.unsent[background_id] = str(error)
                continue
            request = pb.ImportBackgroundsRequest(
                name=f"{self._parent}/backgrounds/{background_id}",
                image=image,
                title=known.title,
                keywords=known.keywords,
                force=self._force,
                attributes=[pb.Attribute(key=key, values=values) for key, values in known.attributes.items()],
            )
            if known.expire_time:
                request.expire_time.FromDatetime(known.expire_time)
            yield request


def find_pictures(directory: Path) -> dict[str, Path]:
    """The pictures below a folder by the id that each will have: its file's name in lower case, with dashes."""
    endings = Image.registered_extensions()
    found: dict[str, Path] = {}
    for path in sorted(directory.rglob("*")):
        if path.suffix.lower() not in endings or path.name.startswith(".") or not path.is_file():
            continue
        background_id = slugify(path.stem, max_length=MAX_ID_LENGTH)
        if background_id in found:
            fail(f"{path} and {found[background_id]} would have the same id, {background_id}; rename one.")
        found[background_id] = path
    return found


def _default_manifest(directory: Path) -> Path | None:
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


def _report(outcomes: list[pb.ImportBackgroundsResponse], upload: Upload) -> None:
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
        out("See why with: backdrop backgrounds show ID. To try them again: --force")
    for background_id, message in sorted(failures.items()):
        stderr.print(f"[red]failed[/] {background_id}: ", end="")
        stderr.print(message, markup=False, soft_wrap=True)
    if failures:
        raise typer.Exit(1)


_COUNTED = {"new": pb.OUTCOME_CREATED, "updated": pb.OUTCOME_UPDATED, "unchanged": pb.OUTCOME_UNCHANGED}
