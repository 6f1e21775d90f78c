"""Fitted calibrations on disk: `calibration.json` beside the taxonomies, written by `backdrop-calibrate`."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import structlog
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from services.captioner.calibration import digest_labels
from services.captioner.errors import BadCalibration
from services.captioner.taxonomy import SHIPPED_DIR, Category, ZeroShotCategory

log = structlog.get_logger(__name__)

FILE_NAME = "calibration.json"

Share = Annotated[float, Field(ge=0, le=1)]


class CategoryCalibration(BaseModel):
    """What was fitted for one category of one taxonomy with one model.

    Attributes:
        model: name of the image-text model.
        taxonomy: its name.
        category: its name.
        labels: digest of the category's labels, since other labels have other confidences.
        temperature: what logits are divided by.
        min_confidence: below this a reading is unsure.
        precision: the share of readings from `min_confidence` on that was to be right.
        photos: how many labelled photos it was fitted on.
        fitted_on: names of the lists of labels.
        accuracy: the share of the photos whose best label was right.
        ece_before: expected calibration error without the temperature.
        ece_after: the same with it, cross-validated.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    taxonomy: str
    category: str
    labels: str
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    min_confidence: Share
    precision: Share
    photos: Annotated[int, Field(ge=1)]
    fitted_on: tuple[str, ...]
    accuracy: Share
    ece_before: Share
    ece_after: Share

    @property
    def key(self) -> tuple[str, str, str]:
        """What there is one of."""
        return self.model, self.taxonomy, self.category


_ENTRIES = TypeAdapter(tuple[CategoryCalibration, ...])


class Calibrations:
    """All that were loaded, found by model, taxonomy and category."""

    def __init__(self, entries: Iterable[CategoryCalibration] = ()) -> None:
        self._entries: Mapping[tuple[str, str, str], CategoryCalibration] = {each.key: each for each in entries}

    def find(self, model: str, taxonomy: str, category: Category) -> CategoryCalibration | None:
        """The one for `category`; None when none was fitted with this model, or when it was for other labels."""
        if not isinstance(category, ZeroShotCategory):
            return None
        found = self._entries.get((model, taxonomy, category.name))
        if found is not None and found.labels != digest_labels(category):
            log.warning("calibration_outdated", taxonomy=taxonomy, category=category.name, reason="other labels")
            return None
        return found


def load_calibrations(folder: Path | None = None) -> Calibrations:
    """Those that are shipped, and those of `folder`, which come first.

    Raises:
        BadCalibration: a file is damaged, naming every problem.
    """
    return Calibrations([*read_calibrations(SHIPPED_DIR), *(read_calibrations(folder) if folder else ())])


def read_calibrations(folder: Path) -> tuple[CategoryCalibration, ...]:
    """Those of the folder's file; none when it has no such file.

    Raises:
        BadCalibration: the file is damaged, naming every problem.
    """
    path = folder / FILE_NAME
    try:
        return _ENTRIES.validate_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise BadCalibration(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        problems = [
            f"{path}: {'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors()
        ]
        raise BadCalibration("\n".join(problems)) from error


def write_calibrations(folder: Path, fitted: Iterable[CategoryCalibration]) -> Path:
    """Adds `fitted` to the folder's file, in place of those of the same model, taxonomy and category.

    Raises:
        BadCalibration: the file that is there is damaged.
    """
    merged = {each.key: each for each in (*read_calibrations(folder), *fitted)}
    entries = [merged[key].model_dump(mode="json") for key in sorted(merged)]
    path = folder / FILE_NAME
    path.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    return path
