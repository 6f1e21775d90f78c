from functools import partial
from pathlib import Path

import pytest
import typer

from gateway.cli.client import read_image
from gateway.cli.importing import Upload, find_pictures
from gateway.cli.manifest import Metadata
from gateway.cli.source import Source


def test_pictures_get_ids_from_their_names(tmp_path: Path) -> None:
    for name in ("Oak Table.JPG", "moss_01.png", "notes.txt", "manifest.csv"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "Käse.webp").touch()
    assert sorted(find_pictures(tmp_path)) == ["kase", "moss-01", "oak-table"]


def test_two_pictures_with_one_id_stop_the_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "oak.jpg").touch()
    (tmp_path / "oak.png").touch()
    with pytest.raises(typer.Exit):
        find_pictures(tmp_path)
    assert "would have the same id, oak" in capsys.readouterr().err


def test_a_picture_that_cannot_be_sent_is_left_out_and_noted(tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(b"x")
    with (tmp_path / "huge.jpg").open("wb") as huge:
        huge.truncate(60_000_000)
    pictures = find_pictures(tmp_path) | {"gone": tmp_path / "gone.jpg"}
    sources = {name: Source(Metadata(), partial(read_image, path)) for name, path in pictures.items()}
    upload = Upload("shop", sources, force=False)
    assert [request.name for request in upload.requests()] == ["libraries/shop/backgrounds/good"]
    assert "57 MiB" in upload.unsent["huge"]
    assert "No such file" in upload.unsent["gone"]
