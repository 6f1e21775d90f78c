"""The file of an export: what is written is read back, and what others wrote harms nobody."""

import json
import random
import struct
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from google.protobuf.timestamp_pb2 import Timestamp

from backdrop.gateway.v1 import gateway_pb2 as pb
from gateway.cli.archive import new_archive, open_archive
from gateway.cli.client import UnreadableImage
from gateway.cli.importing import Upload, find_pictures
from gateway.cli.manifest import Metadata, read_manifest

NAME = "libraries/shop/backgrounds/{}"
TITLE = "Käse\u2028im “Café”"


def exported(background_id: str, **fields: object) -> pb.ExportBackgroundsResponse:
    background = pb.Background(name=NAME.format(background_id), content_type="image/jpeg", **fields)
    return pb.ExportBackgroundsResponse(
        background=background, image=b"picture of " + background_id.encode(), record=b"{}"
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An archive of two backgrounds."""
    path = tmp_path / "shop.zip"
    season = pb.Attribute(key="season", values=["winter", "late, autumn"])
    with new_archive(path) as archive:
        archive.add(
            exported("oak", title=TITLE, keywords=["a, b"], attributes=[season], expire_time=Timestamp(seconds=86_400))
        )
        archive.add(exported("sand"))
    return path


def written(path: Path, members: dict[str, bytes | str], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def line(background_id: str = "oak", file: str = "pictures/oak.jpg", **fields: object) -> str:
    return json.dumps({"id": background_id, "file": file, **fields})


def read_all(path: Path) -> list[pb.ImportBackgroundsRequest]:
    with open_archive(path) as archive:
        return list(Upload("copy", archive.sources(with_records=True), force=False).requests())


def unsent(path: Path) -> str:
    """Why the only background of the archive cannot be sent."""
    with open_archive(path) as archive:
        upload = Upload("copy", archive.sources(with_records=True), force=False)
        assert list(upload.requests()) == []
    [message] = upload.unsent.values()
    return message


def test_what_is_written_is_read_back(path: Path) -> None:
    oak, sand = read_all(path)

    assert (oak.name, oak.image, oak.record) == ("libraries/copy/backgrounds/oak", b"picture of oak", b"{}")
    assert (oak.title, list(oak.keywords), oak.expire_time.seconds) == (TITLE, ["a, b"], 86_400)
    assert [(each.key, list(each.values)) for each in oak.attributes] == [("season", ["winter", "late, autumn"])]
    assert (sand.title, sand.HasField("expire_time"), sand.image) == ("", False, b"picture of sand")


def test_without_records_the_pictures_are_read_anew(path: Path) -> None:
    with open_archive(path) as archive:
        requests = list(Upload("copy", archive.sources(with_records=False), force=False).requests())

    assert [each.HasField("record") for each in requests] == [False, False]


def test_unzipped_it_is_a_folder_like_any_other(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unzipped"
    with zipfile.ZipFile(path) as file:
        file.extractall(folder)
        assert file.testzip() is None

    assert sorted(find_pictures(folder)) == ["oak", "sand"]
    known = read_manifest(folder / "manifest.jsonl")
    assert known["oak.jpg"].title == TITLE
    assert known["oak.jpg"].expire_time == datetime(1970, 1, 2, tzinfo=UTC)
    assert known["sand.jpg"] == Metadata()


@pytest.mark.parametrize("before", [None, b"an older export"], ids=["new", "overwritten"])
def test_an_export_that_breaks_off_leaves_things_as_they_were(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "shop.zip"
    if before:
        path.write_bytes(before)

    def break_off() -> None:
        with new_archive(path) as archive:
            archive.add(exported("oak"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()

    assert [each.read_bytes() for each in tmp_path.iterdir()] == ([before] if before else [])


def test_a_full_disk_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fill_up() -> None:
        with new_archive(tmp_path / "shop.zip"):
            raise OSError(28, "No space left on device")

    with pytest.raises(typer.Exit):
        fill_up()

    assert "No space left on device" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"oak.jpg": b"x"}, "manifest.jsonl is not in"),
        ({"manifest.jsonl": b"\xff\xfe"}, "is not UTF-8"),
        ({"manifest.jsonl": '{"file": '}, "line 1 is not JSON"),
        ({"manifest.jsonl": "[" * 100_000}, "line 1 is not JSON"),
        ({"manifest.jsonl": '{"id": "oak"}'}, "line 1 names no file"),
        ({"manifest.jsonl": '{"file": "pictures/oak.jpg"}'}, "line 1: the id 'None' must be"),
        ({"manifest.jsonl": line("../../oak")}, "line 1: the id '../../oak' must be"),
        ({"manifest.jsonl": line("oak\n")}, "must be of 1 to 63"),
        ({"manifest.jsonl": f"{line()}\n{line()}"}, "line 2: there is another line for oak"),
        ({"manifest.jsonl": line(expire_time="soon")}, "line 1: expire_time 'soon' is no date"),
    ],
)
def test_a_zip_of_something_else_is_refused_with_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], members: dict[str, bytes | str], complaint: str
) -> None:
    with pytest.raises(typer.Exit):
        read_all(written(tmp_path / "a.zip", members))

    assert complaint in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("content", [b"", b"no zip at all", None], ids=["empty", "text", "truncated"])
def test_what_is_no_zip_is_refused(path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None) -> None:
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)

    with pytest.raises(typer.Exit):
        read_all(path)

    assert "is no zip file, or only a part of one" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("file", ["../secret.jpg", "{folder}/secret.jpg", "pictures/../../secret.jpg"])
def test_a_manifest_reaches_no_file_outside_of_the_zip(tmp_path: Path, file: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "zip").mkdir()
    members = {"manifest.jsonl": line(file=file.format(folder=tmp_path)), "records/oak.json": b"{}"}

    assert "is not in" in unsent(written(tmp_path / "zip" / "a.zip", members))


def test_members_with_paths_in_their_names_are_written_nowhere(tmp_path: Path) -> None:
    (tmp_path / "zip").mkdir()
    members = {"manifest.jsonl": line(file="../evil.jpg"), "../evil.jpg": b"x", "records/oak.json": b"{}"}

    [request] = read_all(written(tmp_path / "zip" / "a.zip", members))

    assert request.image == b"x"
    assert [each.name for each in tmp_path.rglob("*")] == ["zip", "a.zip"]


def test_a_missing_record_is_no_reason_to_caption_silently(tmp_path: Path) -> None:
    members = {"manifest.jsonl": line(), "pictures/oak.jpg": b"x"}

    assert "records/oak.json is not in" in unsent(written(tmp_path / "a.zip", members))


def test_what_is_too_large_is_not_unpacked(tmp_path: Path) -> None:
    members = {"manifest.jsonl": line(), "pictures/oak.jpg": bytes(40 * 2**20), "records/oak.json": b"{}"}

    assert "has 40 MiB, and 32 MiB are allowed" in unsent(written(tmp_path / "a.zip", members, zipfile.ZIP_DEFLATED))


def test_a_member_that_lies_about_its_size_is_damaged(tmp_path: Path) -> None:
    members = {"manifest.jsonl": line(), "records/oak.json": b"{}", "pictures/oak.jpg": bytes(40 * 2**20)}
    path = written(tmp_path / "a.zip", members, zipfile.ZIP_DEFLATED)
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 40 * 2**20), struct.pack("<I", 1000)))

    assert "is damaged" in unsent(path)


def test_a_compression_that_cannot_be_bounded_is_refused(tmp_path: Path) -> None:
    members = {"manifest.jsonl": line(), "pictures/oak.jpg": b"x" * 1000, "records/oak.json": b"{}"}
    path = written(tmp_path / "a.zip", members)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("pictures/oak.jpg", b"x" * 1000, zipfile.ZIP_BZIP2)

    assert "another way than deflate" in unsent(path)


def test_text_that_is_no_unicode_fails_alone(tmp_path: Path) -> None:
    lines = [line(title="\ud800"), line("sand", "pictures/oak.jpg")]
    members = {"manifest.jsonl": "\n".join(lines), "pictures/oak.jpg": b"x"}
    members |= {f"records/{each}.json": b"{}" for each in ("oak", "sand")}
    with open_archive(written(tmp_path / "a.zip", members)) as archive:
        upload = Upload("copy", archive.sources(with_records=True), force=False)
        assert [each.name for each in upload.requests()] == ["libraries/copy/backgrounds/sand"]
    assert "cannot be sent" in upload.unsent["oak"]


@pytest.mark.parametrize(
    "damage", [lambda size, chance: chance.randrange(size), lambda size, chance: size - 1 - chance.randrange(200)]
)
def test_damage_anywhere_is_told_and_never_crashes(path: Path, damage: Callable[[int, random.Random], int]) -> None:
    whole = path.read_bytes()
    chance = random.Random(7)
    for _ in range(400):
        content = bytearray(whole)
        content[damage(len(content), chance)] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        try:
            requests = read_all(path)
        except (typer.Exit, UnreadableImage):
            continue
        assert all(each.image in (b"picture of oak", b"picture of sand") for each in requests)
