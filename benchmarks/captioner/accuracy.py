"""How often the captioner names a product or a place right, and whether it knows: top-1, top-3 and calibration error.

`python -m benchmarks.captioner.accuracy` reads the samples; give it lists of labels and folders of photos for others.
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import Progress
from rich.table import Table

from benchmarks.samples import LIBRARY, PRODUCTS
from gateway.cli.console import stderr, stdout
from services.captioner.calibration import expected_calibration_error
from services.captioner.config import CaptionerConfig
from services.captioner.labelled_photos import LabelledPhoto, read_labelled_photos
from services.captioner.photo_logits import PhotoReadings, read_photos
from services.captioner.taxonomy import find_taxonomy, load_taxonomies

LABELS = Path(__file__).parent / "labels"
SAMPLE_LISTS = {"product": LABELS / "sample-products.csv", "background": LABELS / "sample-backgrounds.csv"}


def measure(
    lists: Annotated[
        list[Path] | None, typer.Argument(help="CSV files of labels; those of the samples if none.")
    ] = None,
    taxonomy: Annotated[str, typer.Option(help="Its categories are the columns of the lists.")] = "product",
    photos: Annotated[list[Path] | None, typer.Option(help="Folder with photos; may be repeated.")] = None,
) -> None:
    """Prints, for each list and category, how often the labels that lead are right, and the calibration error."""
    config = CaptionerConfig(log_level="warning")
    chosen = find_taxonomy(load_taxonomies(config.taxonomy_dir), taxonomy)
    table = Table("list", "category", "photos", "top-1", "top-3", "sure", "right if sure", "ECE if sure", box=None)
    for path in lists or [SAMPLE_LISTS[taxonomy]]:
        labelled = read_labelled_photos([path], [*(photos or []), PRODUCTS, LIBRARY], chosen)
        with Progress(console=stderr, transient=True) as progress:
            task = progress.add_task(f"Reading photos of {path.name}", total=len(labelled))
            readings = read_photos([each.path for each in labelled], chosen, config, partial(progress.advance, task))
        for category in chosen.categories:
            if rows := [row for row, photo in enumerate(labelled) if category.name in photo.accepted]:
                table.add_row(
                    path.stem, category.name, str(len(rows)), *_figures(category.name, rows, labelled, readings)
                )
    stdout.print(table)


def _figures(category: str, rows: list[int], labelled: list[LabelledPhoto], readings: PhotoReadings) -> list[str]:
    accepted = {row: labelled[row].accepted[category] for row in rows}
    features = {
        row: next(each for each in readings.features[row].features if each.category.name == category) for row in rows
    }
    sure = [row for row in rows if features[row].labels]
    right = np.array([features[row].labels[0].name in accepted[row] for row in sure], dtype=np.bool_)
    confidences = np.array([features[row].labels[0].confidence for row in sure])
    return [
        *(_top(category, count, accepted, features[rows[0]].category.label_names, readings) for count in (1, 3)),
        str(len(sure)),
        f"{right.sum()}" if sure else "",
        f"{expected_calibration_error(confidences, right):.3f}" if sure else "",
    ]


def _top(
    category: str, count: int, accepted: dict[int, frozenset[str]], names: tuple[str, ...], readings: PhotoReadings
) -> str:
    """How many photos have a right label among the first `count`; only the model gives all labels an order."""
    if category not in readings.logits:
        return ""
    best = {row: np.argsort(-readings.logits[category][row])[:count] for row in accepted}
    return str(sum(any(names[index] in accepted[row] for index in best[row]) for row in accepted))


if __name__ == "__main__":
    typer.run(measure)
