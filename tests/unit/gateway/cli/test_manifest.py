from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from gateway.cli.manifest import Metadata, read_manifest


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
        ("a.jsonl", '{"file": "a.jpg", "keywords": 3}\n', "line 1: keywords is neither a list nor text"),
        ("a.jsonl", '{"file": "a.jpg", "attributes": ["winter"]}\n', "line 1: attributes must look like"),
        ("a.csv", "file,Season\na.jpg,winter\n", "line 2: the attribute 'Season'"),
        ("a.csv", "file,expire_time\na.jpg,soon\n", "line 2: expire_time 'soon' is no date"),
        ("a.csv", "file,title\na.jpg,oak, old\n", "line 2 has more values"),
    ],
)
def test_a_bad_manifest_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, complaint: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(typer.Exit):
        read_manifest(tmp_path / name)
    assert complaint in " ".join(capsys.readouterr().err.split())


def test_other_columns_are_attributes_and_expire_time_is_a_date(tmp_path: Path) -> None:
    as_csv, as_json = tmp_path / "a.csv", tmp_path / "a.jsonl"
    as_csv.write_text("file,season,licence,expire_time\noak.jpg,winter;autumn,,2027-01-31\n")
    as_json.write_text(
        '{"file": "oak.jpg", "attributes": {"season": ["winter", "autumn"]}, "expire_time": "2027-01-31T01:00+01:00"}'
    )
    expected = Metadata(attributes={"season": ("winter", "autumn")}, expire_time=datetime(2027, 1, 31, tzinfo=UTC))
    assert read_manifest(as_csv) == {"oak.jpg": expected}
    assert read_manifest(as_json) == {"oak.jpg": expected}


def test_a_manifest_of_another_encoding_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_bytes("file,title\nkäse.jpg,Käse\n".encode("latin-1"))
    with pytest.raises(typer.Exit):
        read_manifest(tmp_path / "a.csv")
    assert "is not UTF-8: byte 13" in " ".join(capsys.readouterr().err.split())
