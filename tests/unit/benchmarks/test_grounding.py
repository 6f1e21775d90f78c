import json
from pathlib import Path

import pytest

from benchmarks.grounding import gold
from benchmarks.grounding.steps import Answer, Caption, Judge, Tally, keep_all, keep_unmarked, photo_decides, tally
from services.generator.claims import Kind

TEMPLATE = Caption("A mug.", 0.5, (), {})
TRUE = Caption("A blue mug.", 0.55, (), {})
INVENTED = Caption("A blue mug on a table.", 0.52, ("table",), {"table": Kind.THING})
WRONG_COLOR = Caption("A red mug of wood.", 0.3, ("red", "wood"), {"red": Kind.COLOR, "wood": Kind.MATERIAL})
MISREAD = Caption("A white mug.", 0.45, (), {"white": Kind.COLOR})


def test_captions_are_counted_by_what_they_claim_wrongly() -> None:
    answers = [Answer([TRUE, INVENTED], TEMPLATE), Answer([WRONG_COLOR], TEMPLATE)]
    assert tally(answers, keep_all) == Tally(captions=3, wrong=2, wrong_thing=1, wrong_look=1, answers=2, templated=0)


def test_where_no_caption_is_left_the_template_counts_for_what_it_claims() -> None:
    misread = Caption("A white mug.", 0.4, (), {"white": Kind.COLOR})
    answers = [Answer([INVENTED], misread), Answer([], TEMPLATE), Answer([TRUE], TEMPLATE)]
    assert tally(answers, keep_unmarked) == Tally(
        captions=3, wrong=1, wrong_thing=0, wrong_look=1, answers=3, templated=2
    )


@pytest.mark.parametrize(
    ("margin", "bonus", "kept"),
    [
        (0.1, 0.0, [TRUE, INVENTED, MISREAD]),
        (0.1, 0.05, [TRUE, MISREAD]),
        (0.0, 0.0, [TRUE, INVENTED]),
        (0.3, 0.0, [TRUE, INVENTED, MISREAD]),
    ],
)
def test_marked_captions_have_to_beat_the_template_and_others_may_fall_behind(
    margin: float, bonus: float, kept: list[Caption]
) -> None:
    answer = Answer([TRUE, INVENTED, WRONG_COLOR, MISREAD], TEMPLATE)
    assert photo_decides(margin, bonus)(answer) == kept


@pytest.mark.parametrize(
    ("file", "caption", "wrong"),
    [
        ("coffee-mug.jpg", "A blue ceramic mug with a handle, filled with coffee.", {}),
        ("coffee-mug.jpg", "A white glass mug.", {"white": Kind.COLOR, "glass": Kind.MATERIAL}),
        ("wine-bottle.jpg", "A dark green bottle of red wine with a label.", {}),
        ("sofa.jpg", "A teal couch with wooden legs and a cushion, beside a lamp.", {"lamp": Kind.THING}),
        ("table-lamp.jpg", "A candle.", {"candle": Kind.THING}),
        ("basketball.jpg", "An orange ball with a sporty look.", {}),
    ],
)
def test_a_sample_is_judged_by_what_it_shows(file: str, caption: str, wrong: dict[str, Kind]) -> None:
    photo = next(each for each in gold.read_samples() if each.path.name == file)
    assert Judge().wrong(caption, photo.shows) == wrong


def test_every_sample_says_what_may_be_said_of_it() -> None:
    for photo in gold.read_samples():
        assert photo.path.is_file()
        assert all(labels for _, labels in photo.shows)
        description = json.loads(next(line for line in _lines() if photo.path.name in line))["description"]
        assert Judge().wrong(description, photo.shows) == {}


def test_photos_of_a_folder_get_the_labels_of_their_names(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("file,things,colors,materials\na.jpg,cup|mug,blue,\n")
    (tmp_path / "a.jpg").touch()
    [photo] = gold.read_folder(tmp_path, labels)
    assert photo == gold.GoldPhoto(tmp_path / "a.jpg", [("things", ["cup", "mug"]), ("colors", ["blue"])])


def test_a_photo_that_nobody_described_is_named(tmp_path: Path) -> None:
    (tmp_path / "new.jpg").touch()
    with pytest.raises(ValueError, match=r"these photos not yet: new\.jpg"):
        gold.read_folder(tmp_path)


def _lines() -> list[str]:
    return (gold.PRODUCTS / "products.jsonl").read_text().splitlines()
