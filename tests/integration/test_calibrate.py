"""The command that fits confidences, with the embedded model and photos made in place."""

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from services.captioner.calibrate import app
from services.captioner.calibration_file import FILE_NAME, load_calibrations
from services.captioner.taxonomy import load_taxonomy

# Torch and its friends warn of their own affairs while they are imported.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

TAXONOMY = (
    "{name: things, description: Things, categories: "
    "[{name: kind, reader: zero_shot, labels: [tennis ball, wall clock, envelope]}]}"
)


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a taxonomy, photos of two things, and a list of them, of which the captioner is told."""
    rows = ["file,kind"]
    for number in range(22):
        name, kind = f"{number}.png", "tennis ball" if number % 2 else "envelope"
        _draw(number).save(tmp_path / name)
        rows.append(f"{name},{kind}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    (tmp_path / "things.yaml").write_text(TAXONOMY)
    monkeypatch.setenv("BACKDROP_CAPTIONER_TAXONOMY_DIR", str(tmp_path))
    monkeypatch.setenv("BACKDROP_CAPTIONER_CACHE_DIR", str(request.config.cache.mkdir("captioner")))
    return tmp_path


def _draw(number: int) -> Image.Image:
    photo = Image.new("RGB", (200, 160), (235, 235, 235 + number % 20))
    draw, side = ImageDraw.Draw(photo), 40 + 2 * number
    if number % 2:
        draw.ellipse((60, 40, 60 + side, 40 + side), fill=(204, 225, 60))
    else:
        draw.rectangle((20, 30, 100 + 2 * side, 30 + side), fill=(222, 205, 170), outline=(150, 130, 100))
        draw.line((20, 30, 60 + side, 30 + side // 2, 100 + 2 * side, 30), fill=(150, 130, 100), width=2)
    return photo


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "200"})
    return f"{result.exit_code}: {result.output}"


def test_a_fit_is_written_beside_the_taxonomy_and_drawn(folder: Path) -> None:
    said = run(folder / "labels.csv", "--taxonomy", "things", "--diagram", folder / "reliability.png")

    assert said.startswith("0:"), said
    assert "kind" in said
    (entry,) = json.loads((folder / FILE_NAME).read_text())
    assert entry["photos"] == 22
    category = load_taxonomy(folder / "things.yaml").categories[0]
    assert load_calibrations(folder).find(entry["model"], "things", category) is not None
    assert Image.open(folder / "reliability.png").width > 100


def test_a_dry_run_writes_nothing(folder: Path) -> None:
    assert run(folder / "labels.csv", "--taxonomy", "things", "--dry-run").startswith("0:")
    assert not (folder / FILE_NAME).exists()


def test_too_few_photos_are_left_alone(folder: Path) -> None:
    (folder / "few.csv").write_text("file,kind\n1.png,tennis ball\n")

    said = run(folder / "few.csv", "--taxonomy", "things")

    assert "takes 20 photos" in said
    assert not (folder / FILE_NAME).exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("file,kind\n1.png,teapot\n", "'teapot' is no label of kind"),
        ("file,kind\n99.png,envelope\n", "no photo '99.png'"),
    ],
)
def test_a_bad_list_ends_the_command_with_its_problem(folder: Path, content: str, says: str) -> None:
    (folder / "bad.csv").write_text(content)

    said = run(folder / "bad.csv", "--taxonomy", "things")

    assert said.startswith("1:")
    assert says in said


def test_an_unknown_taxonomy_is_named(folder: Path) -> None:
    assert "No taxonomy is named 'stuff'" in run(folder / "labels.csv", "--taxonomy", "stuff")
