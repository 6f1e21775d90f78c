from datetime import UTC, datetime
from pathlib import Path

import pytest

from backdrop.gateway.v1 import gateway_pb2 as pb
from gateway.cli.manifest import Metadata
from jobs.pictures import PAGE, Picture, SourceUnusable, find_pictures, list_files


def found(folder: Path, metadata: dict[str, Metadata] | None = None) -> dict[str, Picture]:
    pages = find_pictures(str(folder), "libraries/shop", metadata or {}, force=False)
    return {each.file: each for page in pages for each in page}


def test_pictures_are_found_in_all_folders_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("a.jpg", "deep/er/B C.PNG", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).write_bytes(b"picture")
    names = {pb.ImportBackgroundsRequest.FromString(each.request).name for each in found(tmp_path).values()}
    assert names == {"libraries/shop/backgrounds/a", "libraries/shop/backgrounds/b-c"}


def test_they_come_in_pages(tmp_path: Path) -> None:
    for number in range(PAGE + 1):
        (tmp_path / f"{number}.jpg").write_bytes(b"picture")
    pages = list(list_files(str(tmp_path)))
    assert sum(map(len, pages)) == PAGE + 1
    assert max(map(len, pages)) <= PAGE


def test_what_the_manifest_says_goes_along(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    end = datetime(2027, 1, 31, tzinfo=UTC)
    known = Metadata("Oak", ("wood",), {"season": ("winter",)}, end)
    request = pb.ImportBackgroundsRequest.FromString(found(tmp_path, {"a.jpg": known})["a.jpg"].request)
    assert (request.title, list(request.keywords), request.attributes[0].key) == ("Oak", ["wood"], "season")
    assert request.expire_time.ToDatetime(UTC) == end


def test_two_pictures_of_one_id_are_one_picture_and_one_error(tmp_path: Path) -> None:
    for name in ("a b.jpg", "a-b.png"):
        (tmp_path / name).write_bytes(b"picture")
    errors = [each.error for each in found(tmp_path).values()]
    assert sorted(map(bool, errors)) == [False, True]
    assert "a-b" in "".join(errors)


def test_a_picture_that_is_too_large_is_an_error_of_its_own(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(33 * 2**20)
    assert "32 MiB are allowed" in found(tmp_path)["a.jpg"].error


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceUnusable, match="nowhere"):
        list(list_files(str(tmp_path / "nowhere")))


def test_large_pictures_travel_in_smaller_pages(tmp_path: Path) -> None:
    for number in range(5):
        with (tmp_path / f"{number}.png").open("wb") as file:
            file.truncate(12 * 2**20)

    assert [len(page) for page in list_files(str(tmp_path))] == [2, 2, 1]
