from pathlib import Path

import pytest
import typer

from gateway.cli.importing import Metadata, Upload, find_pictures, read_manifest


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


def test_a_manifest_is_csv_or_json_lines(tmp_path: Path) -> None:
    as_csv, as_json = tmp_path / "a.csv", tmp_path / "a.jsonl"
    as_csv.write_text('file,title,keywords\noak.jpg,Oak table,"oak; warm wood ,"\nsand.jpg,,\n')
    as_json.write_text(
        '{"file": "oak.jpg", "title": "Oak table", "keywords": ["oak", "warm wood"]}\n\n{"file": "sand.jpg"}\n'
    )
    expected = {"oak.jpg": Metadata("Oak table", ("oak", "warm wood")), "sand.jpg": Metadata()}
    assert read_manifest(as_csv) == expected
    assert read_manifest(as_json) == expected
    assert read_manifest(None) == {}


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.csv", "picture,title\noak.jpg,Oak\n", "no column named file"),
        ("a.jsonl", '{"file": "a.jpg"}\n{"file": \n', "line 2 is not JSON"),
        ("a.jsonl", '{"title": "Oak"}\n', "line 1 names no file"),
        ("a.jsonl", '{"file": "a.jpg", "keywords": 3}\n', "neither a list nor text"),
    ],
)
def test_a_bad_manifest_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, complaint: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(typer.Exit):
        read_manifest(tmp_path / name)
    assert complaint in " ".join(capsys.readouterr().err.split())


def test_a_picture_that_cannot_be_sent_is_left_out_and_noted(tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(b"x")
    with (tmp_path / "huge.jpg").open("wb") as huge:
        huge.truncate(60_000_000)
    upload = Upload("shop", find_pictures(tmp_path) | {"gone": tmp_path / "gone.jpg"}, {}, force=False)
    assert [request.name for request in upload.requests()] == ["libraries/shop/backgrounds/good"]
    assert "57 MiB" in upload.unsent["huge"]
    assert "No such file" in upload.unsent["gone"]
