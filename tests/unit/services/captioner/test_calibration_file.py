import json
from pathlib import Path

import pytest

from services.captioner.calibration import digest_labels
from services.captioner.calibration_file import (
    FILE_NAME,
    Calibrations,
    CategoryCalibration,
    load_calibrations,
    read_calibrations,
    write_calibrations,
)
from services.captioner.errors import BadCalibration
from services.captioner.taxonomy import SHIPPED_DIR, ZeroShotCategory, load_taxonomies

CATEGORY = ZeroShotCategory.model_validate({"name": "kind", "reader": "zero_shot", "labels": ["mug", "jar"]})


def a_calibration(**changes: object) -> CategoryCalibration:
    values = {
        "model": "a-model",
        "taxonomy": "things",
        "category": "kind",
        "labels": digest_labels(CATEGORY),
        "temperature": 0.5,
        "min_confidence": 0.3,
        "precision": 0.7,
        "photos": 40,
        "fitted_on": ["labels.csv"],
        "accuracy": 0.6,
        "ece_before": 0.2,
        "ece_after": 0.1,
    }
    return CategoryCalibration.model_validate(values | changes)


def test_what_was_written_is_found_again(tmp_path: Path) -> None:
    write_calibrations(tmp_path, [a_calibration()])

    assert load_calibrations(tmp_path).find("a-model", "things", CATEGORY) == a_calibration()


def test_another_model_has_none(tmp_path: Path) -> None:
    assert Calibrations([a_calibration()]).find("other-model", "things", CATEGORY) is None


def test_labels_that_changed_since_have_none() -> None:
    longer = ZeroShotCategory.model_validate({"name": "kind", "reader": "zero_shot", "labels": ["mug", "jar", "can"]})

    assert Calibrations([a_calibration()]).find("a-model", "things", longer) is None


def test_writing_again_replaces_its_own_and_keeps_the_others(tmp_path: Path) -> None:
    write_calibrations(tmp_path, [a_calibration(), a_calibration(model="other-model")])
    write_calibrations(tmp_path, [a_calibration(temperature=2)])

    assert [(each.model, each.temperature) for each in read_calibrations(tmp_path)] == [
        ("a-model", 2),
        ("other-model", 0.5),
    ]


def test_a_folder_without_a_file_has_none(tmp_path: Path) -> None:
    assert read_calibrations(tmp_path) == ()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "the file"),
        ('{"temperature": 1}', "the file"),
        (json.dumps([a_calibration().model_dump(mode="json") | {"temperature": 0}]), "0.temperature"),
        (json.dumps([a_calibration().model_dump(mode="json") | {"min_confidence": 2}]), "0.min_confidence"),
        (json.dumps([a_calibration().model_dump(mode="json") | {"heat": 2}]), "0.heat"),
    ],
)
def test_a_damaged_file_is_named_with_its_problem(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)

    with pytest.raises(BadCalibration, match=f"{FILE_NAME}: {says}"):
        read_calibrations(tmp_path)


def test_what_is_shipped_belongs_to_the_shipped_labels() -> None:
    taxonomies = load_taxonomies()
    calibrations = load_calibrations()

    for each in read_calibrations(SHIPPED_DIR):
        category = next(one for one in taxonomies[each.taxonomy].categories if one.name == each.category)
        assert calibrations.find(each.model, each.taxonomy, category) == each
