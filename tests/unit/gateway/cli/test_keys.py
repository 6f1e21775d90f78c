"""`backdrop keys`: made, shown once, listed, revoked."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.api_keys import Door, read_keys
from gateway.cli.app import app
from tests.contract.test_api_keys import context

runner = CliRunner()


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "keys.jsonl")


def test_a_key_is_shown_once_and_opens_its_libraries(file: str) -> None:
    made = runner.invoke(app, ["keys", "create", "web", "--library", "shop", "--library", "shop-*", "--file", file])
    assert made.exit_code == 0
    key = made.stdout.strip()
    Door(Path(file)).require(context(key), "libraries/shop-berlin")
    listed = runner.invoke(app, ["keys", "list", "--file", file])
    assert "web" in listed.stdout
    assert key not in listed.stdout


def test_a_key_is_revoked_by_its_name(file: str) -> None:
    for name in ("web", "app"):
        runner.invoke(app, ["keys", "create", name, "--library", "shop", "--file", file])
    assert runner.invoke(app, ["keys", "revoke", "web", "--file", file]).exit_code == 0
    assert [each.id for each in read_keys(Path(file))] == ["app"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "web", "--library", "shop"], "Revoke it first"),
        (["create", "Web Shop", "--library", "shop"], "is no name for a key"),
        (["create", "app", "--library", "shop", "--rate", "often"], "600/minute"),
        (["revoke", "none"], "There is no key none"),
    ],
)
def test_mistakes_are_explained(file: str, arguments: list[str], says: str) -> None:
    runner.invoke(app, ["keys", "create", "web", "--library", "shop", "--file", file])
    refused = runner.invoke(app, ["keys", *arguments, "--file", file])
    assert refused.exit_code == 1
    assert says in refused.stderr
