from pathlib import Path

import pytest

from services.captioner.errors import BadLabels
from services.captioner.labelled_photos import read_labelled_photos
from services.captioner.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "name": "things",
        "description": "Things",
        "categories": [
            {"name": "kind", "reader": "zero_shot", "labels": ["mug", "cup", "jar"]},
            {"name": "size", "reader": "zero_shot", "labels": ["small", "large"]},
        ],
    }
)


def a_list(folder: Path, content: str, photos: tuple[str, ...] = ("1.jpg", "2.jpg")) -> Path:
    for name in photos:
        (folder / name).touch()
    path = folder / "labels.csv"
    path.write_text(content)
    return path


def test_a_list_gives_photos_and_their_labels(tmp_path: Path) -> None:
    path = a_list(tmp_path, "file,kind,size\n1.jpg,mug|cup,small\n2.jpg,jar,\n")

    first, second = read_labelled_photos([path], [], TAXONOMY)

    assert first.accepted == {"kind": {"mug", "cup"}, "size": {"small"}}
    assert (second.path, second.accepted) == (tmp_path / "2.jpg", {"kind": {"jar"}})


def test_photos_are_looked_for_in_other_folders_too(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    path = a_list(tmp_path / "lists", "file,kind\nmine.jpg,mug\n", photos=())
    (tmp_path / "mine.jpg").touch()

    assert read_labelled_photos([path], [tmp_path], TAXONOMY)[0].path == tmp_path / "mine.jpg"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("file,kind\n1.jpg,mug\n2.jpg,teapot\n", "line 3: 'teapot' is no label of kind"),
        ("file,kind\n9.jpg,mug\n", "line 2: no photo '9.jpg'"),
        ("file,colour\n1.jpg,red\n", "'colour': no category of things, which has kind, size"),
        ("photo,kind\n1.jpg,mug\n", "has to name the columns: file"),
        ("", "has to name the columns: file"),
        ("file,kind\n", "hold no labelled photo"),
        ("file,kind\n1.jpg,\n", "hold no labelled photo"),
    ],
)
def test_a_bad_list_is_named_with_the_line(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(BadLabels, match=says.replace("|", r"\|")):
        read_labelled_photos([a_list(tmp_path, content)], [], TAXONOMY)


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    path = a_list(tmp_path, "file,kind,size\n1.jpg,teapot,huge\n3.jpg,mug,small\n")

    with pytest.raises(BadLabels) as error:
        read_labelled_photos([path, tmp_path / "missing.csv"], [], TAXONOMY)

    assert len(error.value.message.splitlines()) == 4
