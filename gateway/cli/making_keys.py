"""`backdrop keys`: the gateway's file of API keys."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.table import Table

from gateway.api_keys import ApiKey, BadKeys, new_key, read_keys, write_keys
from gateway.cli.console import fail, out, stderr, stdout


def create(path: Path, name: str, libraries: Sequence[str], rate: str) -> None:
    """Adds a key to the file and prints it, alone on stdout."""
    keys = _read(path)
    if any(each.id == name for each in keys):
        fail(f"There is a key {name} in {path}.", f"Revoke it first: backdrop keys revoke {name} --file {path}")
    try:
        key, kept = new_key(name, libraries, rate)
    except ValidationError as error:
        if error.errors()[0]["loc"] == ("rate",):
            fail(f"{rate} is no rate: write it as 600/minute, 10/second or 5000/day.")
        fail(f"{name} is no name for a key: use 1 to 63 of a-z, 0-9 and -.")
    write_keys(path, [*keys, kept])
    stderr.print(f"A key for {', '.join(libraries)}, shown this once; {path} keeps its digest:", soft_wrap=True)
    out(key)


def show(path: Path) -> None:
    """Prints a table of the keys."""
    table = Table("name", "libraries", "rate", "digest", box=None, pad_edge=False)
    for each in _read(path):
        table.add_row(each.id, ", ".join(each.libraries), each.rate or "any", f"{each.sha256[:8]}…")
    stdout.print(table)


def revoke(path: Path, name: str) -> None:
    """Takes a key out of the file."""
    keys = _read(path)
    left = [each for each in keys if each.id != name]
    if len(left) == len(keys):
        fail(f"There is no key {name} in {path}.")
    write_keys(path, left)
    out(f"Revoked {name}.")


def _read(path: Path) -> list[ApiKey]:
    try:
        return read_keys(path)
    except BadKeys as error:
        fail(error.message)
