"""`backdrop-calibrate`: fits the confidences of zero-shot categories on labelled photos."""

import logging
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from chassis.errors import BackdropError
from services.captioner.calibration import (
    FEWEST_PHOTOS,
    Fit,
    are_right,
    digest_labels,
    expected_calibration_error,
    fit,
)
from services.captioner.calibration_file import CategoryCalibration, write_calibrations
from services.captioner.config import CaptionerConfig
from services.captioner.labelled_photos import LabelledPhoto, read_labelled_photos
from services.captioner.photo_logits import PhotoReadings, read_photos
from services.captioner.reliability_diagram import draw_reliability
from services.captioner.taxonomy import SHIPPED_DIR, Taxonomy, ZeroShotCategory, find_taxonomy, load_taxonomies

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
stdout, stderr = Console(), Console(stderr=True)


@app.command()
def calibrate(
    labels: Annotated[list[Path], typer.Argument(help="CSV files: `file,object_type,size`, a line a photo.")],
    taxonomy: Annotated[str, typer.Option(help="The taxonomy whose categories the columns are.")] = "product",
    photos: Annotated[
        list[Path] | None, typer.Option(help="Folder with photos, beside those of the CSV files; may be repeated.")
    ] = None,
    precision: Annotated[
        float, typer.Option(min=0, max=1, help="Share of sure readings that has to be right; the rest is unsure.")
    ] = 0.75,
    into: Annotated[
        Path | None, typer.Option(help="Folder for `calibration.json`; that of your taxonomies, or else the shipped.")
    ] = None,
    diagram: Annotated[Path | None, typer.Option(help="PNG file for a reliability diagram.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the figures, and write nothing.")] = False,
) -> None:
    """Makes confidences honest: 0.9 is to mean that nine of ten such readings are right.

    Reads labelled photos with the model that the captioner is configured with (BACKDROP_CAPTIONER_MODEL and so on),
    fits a temperature for each zero-shot category, chooses from which confidence on a reading counts as sure, and
    writes both beside the taxonomies. The captioner takes them at its next start.

    A list names a photo and what is right for it, with `|` between labels that are all right and nothing where it
    does not matter:

        file,object_type,size
        shoes/12.jpg,sneakers|leather shoes,worn on the body
        mug.jpg,mug,

    Take photos like those that your shop sends, a hundred or more, and not those that you made the taxonomy by.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        config = CaptionerConfig(log_level="warning")
        chosen = find_taxonomy(load_taxonomies(config.taxonomy_dir), taxonomy)
        labelled = read_labelled_photos(labels, photos or [], chosen)
        with Progress(console=stderr, transient=True) as progress:
            task = progress.add_task("Reading photos", total=len(labelled))
            readings = read_photos([each.path for each in labelled], chosen, config, lambda: progress.advance(task))
        fits = _fit_categories(chosen, labelled, readings, precision)
        stdout.print(_table(fits))
        if fits and diagram:
            draw_reliability(fits, diagram)
            stdout.print(f"Drew {diagram}")
        if fits and not dry_run:
            fitted_on = tuple(each.name for each in labels)
            entries = [
                _entry(readings.model, chosen.name, category, fits[category.name], fitted_on, precision)
                for category in _zero_shot(chosen)
                if category.name in fits
            ]
            stdout.print(f"Wrote {write_calibrations(into or config.taxonomy_dir or SHIPPED_DIR, entries)}")
    except BackdropError as error:
        stderr.print(error.message, style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _fit_categories(
    taxonomy: Taxonomy, labelled: list[LabelledPhoto], readings: PhotoReadings, precision: float
) -> dict[str, Fit]:
    fits = {}
    for category in _zero_shot(taxonomy):
        rows = [row for row, photo in enumerate(labelled) if category.name in photo.accepted]
        if len(rows) < FEWEST_PHOTOS:
            stderr.print(
                f"{category.name}: left as it is, for it takes {FEWEST_PHOTOS} photos, and {len(rows)} are labelled."
            )
            continue
        logits = readings.logits[category.name][rows]
        right = are_right(logits, category.label_names, [labelled[row].accepted[category.name] for row in rows])
        fits[category.name] = fit(logits, right, precision)
    return fits


def _zero_shot(taxonomy: Taxonomy) -> list[ZeroShotCategory]:
    return [category for category in taxonomy.categories if isinstance(category, ZeroShotCategory)]


def _table(fits: dict[str, Fit]) -> Table:
    columns = (
        "category",
        "photos",
        "right",
        "temp.",
        "ECE before",
        "ECE after",
        "sure from",
        "sure",
        "right if sure",
    )
    table = Table(*columns, box=None)
    for name, each in fits.items():
        sure = each.after >= each.min_confidence
        table.add_row(
            name,
            str(len(each.right)),
            f"{each.right.mean():.0%}",
            f"{each.temperature:.2f}",
            f"{expected_calibration_error(each.before, each.right):.3f}",
            f"{expected_calibration_error(each.after, each.right):.3f}",
            f"{each.min_confidence:.2f}" if each.min_confidence < 1 else "never",
            f"{sure.mean():.0%}",
            f"{each.right[sure].mean():.0%}" if sure.any() else "",
        )
    return table


def _entry(
    model: str, taxonomy: str, category: ZeroShotCategory, fitted: Fit, fitted_on: tuple[str, ...], precision: float
) -> CategoryCalibration:
    return CategoryCalibration(
        model=model,
        taxonomy=taxonomy,
        category=category.name,
        labels=digest_labels(category),
        temperature=round(fitted.temperature, 4),
        min_confidence=round(fitted.min_confidence, 4),
        precision=precision,
        photos=len(fitted.right),
        fitted_on=fitted_on,
        accuracy=round(float(fitted.right.mean()), 4),
        ece_before=round(expected_calibration_error(fitted.before, fitted.right), 4),
        ece_after=round(expected_calibration_error(fitted.after, fitted.right), 4),
    )


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
