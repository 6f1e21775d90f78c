"""A library as one file: a zip of its pictures, what the shop knows of them, and their records.

    manifest.jsonl      a line for each background: id, file, title, keywords, attributes, expire_time
    pictures/ID.jpg     as it was imported
    records/ID.json     what was read from the picture and written about it; see `record` in the contract
    feedback.jsonl      a line for each recommendation that was judged: recommendation_id, ids of chosen and rejected
    rules.jsonl         a line for each rule of the library: a filter as the contract's JSON has it

Unzipped, it is a folder that `backdrop import` reads like any other.
"""

import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from backdrop.gateway.v1 import gateway_pb2 as pb
from gateway.cli.client import MAX_IMAGE_BYTES, UnreadableImage
from gateway.cli.console import fail
from gateway.cli.manifest import json_rows, metadata
from gateway.cli.source import Source

MANIFEST = "manifest.jsonl"
FEEDBACK = "feedback.jsonl"
RULES = "rules.jsonl"
MAX_MANIFEST_BYTES = 256 * 1024 * 1024
MAX_RECORD_BYTES = 256 * 1024
"""The contract's limit, checked before a record is unpacked."""


@contextmanager
def new_archive(path: Path) -> Iterator["ArchiveWriter"]:
    """Writes the archive `path`, which has its name when it is whole; what is broken off leaves nothing behind."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                writer = ArchiveWriter(archive)
                yield writer
                writer.write_manifest()
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        fail(f"Cannot write {path}: {error.strerror}.")
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


class ArchiveWriter:
    """Writes backgrounds, one by one, as they come."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.count = 0
        self.picture_bytes = 0
        self._archive = archive
        self.feedback_count = 0
        self._lines: list[str] = []
        self._feedback: list[str] = []
        self._rules: list[str] = []

    def add(self, exported: pb.ExportBackgroundsResponse) -> None:
        """Writes a background."""
        self.count += 1
        self.picture_bytes += len(exported.image)
        background = exported.background
        background_id = _id(background.name)
        ending = background.content_type.removeprefix("image/").replace("jpeg", "jpg")
        file = f"pictures/{background_id}.{ending}"
        self._archive.writestr(file, exported.image)
        self._archive.writestr(_record_of(background_id), exported.record, zipfile.ZIP_DEFLATED)
        self._lines.append(json.dumps(_row(background_id, file, background), ensure_ascii=False))

    def add_feedback(self, feedback: pb.Feedback) -> None:
        """Adds what was said of a recommendation."""
        self.feedback_count += 1
        row = {
            "recommendation_id": feedback.recommendation_id,
            "chosen": [_id(name) for name in feedback.chosen],
            "rejected": [_id(name) for name in feedback.rejected],
        }
        self._feedback.append(json.dumps(row))

    def add_rules(self, rules: Iterable[pb.Filter]) -> None:
        """Adds what every recommendation of the library fulfils."""
        self._rules += (json_format.MessageToJson(each, indent=None, ensure_ascii=False) for each in rules)

    def write_manifest(self) -> None:
        """Writes the manifest of all that was added, the rules and the feedback."""
        self._archive.writestr(RULES, "".join(f"{line}\n" for line in self._rules), zipfile.ZIP_DEFLATED)
        self._archive.writestr(FEEDBACK, "".join(f"{line}\n" for line in self._feedback), zipfile.ZIP_DEFLATED)
        self._archive.writestr(MANIFEST, "".join(f"{line}\n" for line in self._lines), zipfile.ZIP_DEFLATED)


@contextmanager
def open_archive(path: Path) -> Iterator["Archive"]:
    """Opens the archive `path`; ends the command with what is wrong when it is none."""
    try:
        file = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        fail(
            f"{path} is no zip file, or only a part of one.",
            "Import a folder of pictures, or a file that backdrop export wrote.",
        )
    except OSError as error:
        fail(f"Cannot read {path}: {error.strerror}.")
    with file:
        yield Archive(path, file)


class Archive:
    """Reads an archive. Nothing is unpacked to the disk, so what its members are called harms nobody."""

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self._path = path
        self._file = file

    def sources(self, *, with_records: bool) -> dict[str, Source]:
        """The pictures by id, as the manifest has them; ends the command with what is wrong, and where."""
        found: dict[str, Source] = {}
        for where, row in json_rows(self._lines_of(MANIFEST), f"{self._path}: {MANIFEST}"):
            background_id = str(row.get("id"))
            if not re.fullmatch("[a-z0-9][a-z0-9-]{0,62}", background_id):
                fail(f"{where}: the id {background_id!r} must be of 1 to 63 of a-z, 0-9 and -.")
            if background_id in found:
                fail(f"{where}: there is another line for {background_id}.")
            image = partial(self._read, str(row["file"]), MAX_IMAGE_BYTES)
            record = partial(self._read, _record_of(background_id), MAX_RECORD_BYTES) if with_records else None
            found[background_id] = Source(metadata(row, where), image, record)
        return found

    def feedback(self, parent: str) -> list[pb.RecordFeedbackRequest]:
        """What was said of recommendations, to be said of those of `parent`; ends the command with what is wrong."""
        if FEEDBACK not in self._file.namelist():
            return []
        requests = []
        for where, row in json_rows(
            self._lines_of(FEEDBACK), f"{self._path}: {FEEDBACK}", required="recommendation_id"
        ):
            try:
                request = pb.RecordFeedbackRequest(parent=parent, recommendation_id=row["recommendation_id"])
                for given, names in (
                    (row.get("chosen", ()), request.chosen),
                    (row.get("rejected", ()), request.rejected),
                ):
                    names.extend(f"{parent}/backgrounds/{each}" for each in given)
            except (TypeError, ValueError) as error:
                fail(f"{where} is no feedback: {error}.")
            requests.append(request)
        return requests

    def rules(self) -> list[pb.Filter]:
        """The rules of the library; ends the command with what is wrong."""
        if RULES not in self._file.namelist():
            return []
        rules = []
        for where, row in json_rows(self._lines_of(RULES), f"{self._path}: {RULES}", required="key"):
            try:
                rules.append(json_format.ParseDict(row, pb.Filter()))
            except (json_format.ParseError, ValueError, TypeError) as error:
                fail(f"{where} is no rule: {error}.")
        return rules

    def _lines_of(self, member: str) -> str:
        hint = "Only files that backdrop export wrote are imported; unzip others, and import the folder."
        try:
            return self._read(member, MAX_MANIFEST_BYTES).decode()
        except UnreadableImage as error:
            fail(str(error), hint)
        except UnicodeDecodeError:
            fail(f"{member} in {self._path} is not UTF-8.", hint)

    def _read(self, member: str, limit_bytes: int) -> bytes:
        """A member's bytes, of which no more are unpacked than its header says; raises `UnreadableImage`."""
        try:
            info = self._file.getinfo(member)
        except KeyError as error:
            raise UnreadableImage(f"{member} is not in {self._path}.") from error
        if info.file_size > limit_bytes:
            size, limit = (f"{each / 2**20:.3g} MiB" for each in (info.file_size, limit_bytes))
            raise UnreadableImage(f"{member} in {self._path} has {size}, and {limit} are allowed.")
        # The others would be unpacked whole, however large.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnreadableImage(f"{member} in {self._path} is compressed in another way than deflate.")
        try:
            with self._file.open(info) as opened:
                return opened.read(info.file_size)
        # Encrypted members are RuntimeErrors.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
            raise UnreadableImage(f"{member} in {self._path} is damaged: {error}.") from error


def _id(name: str) -> str:
    return name.rsplit("/", 1)[1]


def _record_of(background_id: str) -> str:
    return f"records/{background_id}.json"


def _row(background_id: str, file: str, background: pb.Background) -> dict[str, Any]:
    row = {
        "id": background_id,
        "file": file,
        "title": background.title,
        "keywords": list(background.keywords),
        "attributes": {each.key: list(each.values) for each in background.attributes},
    }
    if background.HasField("expire_time"):
        row["expire_time"] = background.expire_time.ToDatetime(UTC).isoformat()
    return row
