from pathlib import Path

import pytest

from services.captioner.errors import BadTaxonomy, TaxonomyNotFound
from services.captioner.taxonomy import SHIPPED_DIR, ZeroShotCategory, find_taxonomy, load_taxonomies

GOOD = """
name: food
description: What is on the plate.
categories:
  - name: dish
    reader: zero_shot
    labels: [soup, {name: salad, also: [green salad]}]
  - name: color
    reader: palette
    labels: [green, {name: brand, hex: ["#ff5a1f"]}]
  - name: lighting
    reader: photometric
    labels: [{name: bright, measure: lightness, above: 60}]
"""


def problem(folder: Path, content: str) -> str:
    (folder / "bad.yaml").write_text(content)
    with pytest.raises(BadTaxonomy) as caught:
        load_taxonomies(folder)
    assert "bad.yaml" in caught.value.message
    return caught.value.message


def test_the_shipped_taxonomies_read_products_and_backgrounds() -> None:
    taxonomies = load_taxonomies()

    product, background = taxonomies["product"], taxonomies["background"]
    assert {"object_type", "color", "size", "mood"} <= {category.name for category in product.categories}
    assert {"scene", "surface", "lighting", "color", "mood"} <= {category.name for category in background.categories}
    assert product.foreground
    assert not background.foreground


def test_at_least_300_object_types_are_told_apart() -> None:
    object_type = load_taxonomies()["product"].categories[0]

    assert object_type.name == "object_type"
    assert len(object_type.label_names) >= 300


def test_no_name_of_an_object_type_is_given_to_two_labels() -> None:
    object_type = load_taxonomies()["product"].categories[0]
    assert isinstance(object_type, ZeroShotCategory)

    names = [name.lower() for label in object_type.labels for name in (label.name, *label.also)]

    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_a_users_taxonomy_is_added(tmp_path: Path) -> None:
    (tmp_path / "food.yaml").write_text(GOOD)

    taxonomies = load_taxonomies(tmp_path)

    assert {"food", "product", "background"} <= taxonomies.keys()
    assert taxonomies["food"].categories[0].label_names == ("soup", "salad")


def test_a_users_taxonomy_replaces_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(GOOD.replace("name: food", "name: product"))

    assert load_taxonomies(tmp_path)["product"].description == "What is on the plate."


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: food", "name: Food!", "name: String should match pattern"),
        ("reader: palette", "reader: pallete", "categories[1]: Input tag 'pallete'"),
        ("[green,", "[greenish,", "'greenish' is no colour that is known by name: give it hex values"),
        ('"#ff5a1f"', '"orange"', "hex[0]: String should match pattern"),
        ("above: 60", "above: 60, below: 70", "give 'bright' either `above` or `below`"),
        ("measure: lightness", "measure: smell", "measure: Input should be 'lightness'"),
        ("[soup,", "[salad,", "the label 'salad' stands there twice"),
        ("name: lighting", "name: color", "the category 'color' stands there twice"),
        ("reader: zero_shot", "reader: zero_shot\n    prompts: [a photo]", "the prompt 'a photo' needs one {}"),
        ("reader: zero_shot", "reader: zero_shot\n    min_margin: 2", "min_margin: Input should be less than"),
        ("reader: zero_shot", "reader: zero_shot\n    max_label: 2", "max_label: Extra inputs are not permitted"),
        ("description: What is on the plate.", "", "description: Field required"),
        ("categories:", "categories: [", "is not YAML"),
    ],
)
def test_a_problem_is_named_with_its_file_and_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in problem(tmp_path, GOOD.replace(old, new))


def test_every_problem_of_every_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")

    message = problem(tmp_path, GOOD.replace("[green,", "[greenish,").replace("above: 60", ""))

    assert "empty.yaml: the file:" in message
    assert "binary.yaml: cannot be read" in message
    assert "greenish" in message
    assert "give 'bright' either" in message


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadTaxonomy, match=r"does not exist: .*nowhere"):
        load_taxonomies(tmp_path / "nowhere")


def test_an_unknown_taxonomy_is_not_found_and_those_there_are_are_listed() -> None:
    with pytest.raises(TaxonomyNotFound, match="'products'; there are: background, product"):
        find_taxonomy(load_taxonomies(), "products")


def test_shipped_files_are_named_after_their_taxonomies() -> None:
    assert {path.stem for path in SHIPPED_DIR.glob("*.yaml")} == set(load_taxonomies())
