"""Photos, and what a caption may say of each: written down by somebody who looked at them."""

import csv
from dataclasses import dataclass
from pathlib import Path

from benchmarks.samples import PRODUCTS, read_products
from services.generator.prompt import Features

LABELS = Path(__file__).parent / "labels.csv"


@dataclass(frozen=True)
class GoldPhoto:
    """A photo, and the things, colours and materials that it shows."""

    path: Path
    shows: Features


def read_samples() -> list[GoldPhoto]:
    """The products of the samples."""
    return [
        GoldPhoto(
            PRODUCTS / each.file,
            [
                ("things", [*sorted(each.accepted), *each.parts]),
                ("colors", each.colors),
                ("materials", each.materials),
            ],
        )
        for each in read_products()
    ]


def read_folder(folder: Path, labels: Path = LABELS) -> list[GoldPhoto]:
    """The photos of a folder that `labels` describes, in the order of their names.

    Raises:
        ValueError: a photo is not described, or there is none.
    """
    with labels.open(newline="", encoding="utf-8") as file:
        rows = {row.pop("file"): row for row in csv.DictReader(file)}
    paths = sorted(each for each in folder.glob("*") if each.suffix.lower() in (".jpg", ".jpeg", ".png"))
    unknown = [path.name for path in paths if path.name not in rows]
    if unknown or not paths:
        raise ValueError(
            f"{labels} describes these photos not yet: {', '.join(unknown) or f'there is none in {folder}'}"
        )
    return [GoldPhoto(path, _features(rows[path.name])) for path in paths]


def _features(row: dict[str, str]) -> Features:
    return [(category, cell.split("|")) for category, cell in row.items() if cell]
