"""What a shop knows of its pictures: a CSV file or JSON lines, a row for each file.

CSV: the columns `file`, `title`, `keywords` and `expire_time`; every other column is an attribute to filter by. JSON:
the same fields, with the attributes under `attributes`. Lists in CSV are separated by commas or semicolons.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.cli.console import fail

EXAMPLES = {
    "file": '{"file": "a.jpg", "title": "...", "keywords": ["..."]}',
    "key": '{"key": "surface", "anyOf": ["wood"], "exclude": true}',
    "recommendation_id": '{"recommendation_id": "...", "chosen": ["oak-table"], "rejected": []}',
}
COLUMNS = ("file", "title", "keywords", "expire_time")


@dataclass(frozen=True)
class Metadata:
    """What a manifest says of a picture; fields as in the contract."""

    title: str = ""
    keywords: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    expire_time: datetime | None = None


def read_manifest(path: Path | None) -> dict[str, Metadata]:
    """The rows by file name; ends the command with what is wrong, and where."""
    if path is None:
        return {}
    try:
        is_csv = path.suffix.lower() == ".csv"
        rows = _csv_rows(path) if is_csv else json_rows(path.read_text(encoding="utf-8"), str(path))
        return {Path(str(row["file"])).name: metadata(row, where) for where, row in rows}
    except UnicodeDecodeError as error:
        fail(
            f"{path} is not UTF-8: byte {error.start + 1} is 0x{error.object[error.start]:02x}.",
            "In a spreadsheet, save it as “CSV UTF-8”.",
        )


def metadata(row: Mapping[str, Any], where: str) -> Metadata:
    """What a row says; ends the command with what is wrong."""
    attributes = row.get("attributes") or {}
    if not isinstance(attributes, Mapping):
        fail(f'{where}: attributes must look like {{"season": ["winter"]}}.')
    for key in attributes:
        if not re.fullmatch("[a-z][a-z0-9_]{0,62}", key):
            fail(f"{where}: the attribute {key!r} must be of a-z, 0-9 and _, and begin with a letter.")
    values = {key: _list(value, where, key) for key, value in attributes.items()}
    return Metadata(
        title=str(row.get("title") or ""),
        keywords=_list(row.get("keywords"), where, "keywords"),
        attributes={key: each for key, each in values.items() if each},
        expire_time=_time(row.get("expire_time"), where),
    )


def _list(value: object, where: str, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.replace(";", ",").split(",")
    if not isinstance(value, list | tuple | None):
        fail(f"{where}: {name} is neither a list nor text.")
    return tuple(filter(None, (str(each).strip() for each in value or ())))


def _time(value: object, where: str) -> datetime | None:
    if not value:
        return None
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        fail(f"{where}: expire_time {value!r} is no date; write 2027-01-31 or 2027-01-31T12:00:00+01:00.")
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        if "file" not in (reader.fieldnames or ()):
            fail(f"{path} has no column named file.", "Its first line names the columns: file,title,keywords")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row:
                fail(f"{where} has more values than there are columns; put values with commas in quotes.")
            known = {key: row[key] for key in COLUMNS if key in row}
            yield where, known | {"attributes": {key: value for key, value in row.items() if key not in COLUMNS}}


def json_rows(text: str, source: str, required: str = "file") -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of JSON lines, each with where it stands in `source`; ends the command with what is wrong.

    Args:
        text: the lines.
        source: where they come from, in words.
        required: the key that each row must have.
    """
    # A title may hold other line ends, which splitlines would split it at.
    for number, line in enumerate(text.split("\n"), start=1):
        where = f"{source}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            fail(f"{where} is not JSON: {getattr(error, 'msg', error)}.")
        if not isinstance(row, dict) or required not in row:
            fail(f"{where} names no {required}.", f"A line looks like {EXAMPLES[required]}")
        yield where, row
