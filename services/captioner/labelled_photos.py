"""Photos whose right labels somebody wrote down: CSV files beside the photos or apart from them."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.captioner.errors import BadLabels
from services.captioner.taxonomy import Category, Taxonomy

FILE_COLUMN = "file"
ALTERNATIVES = "|"


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """A photo and what is right for it.

    Attributes:
        path: of the photo.
        accepted: for each category that it is labelled for, the labels that are right.
    """

    path: Path
    accepted: dict[str, frozenset[str]]


def read_labelled_photos(lists: Sequence[Path], folders: Sequence[Path], taxonomy: Taxonomy) -> list[LabelledPhoto]:
    """Reads lists of labels: CSV files with a column `file` and one for each category that they label.

    An empty cell leaves its photo out of that category; a cell may hold several labels that are all right, with `|`
    between them. A photo is looked for beside its list, then in each of `folders`.

    Raises:
        BadLabels: naming every problem of every list: a missing photo, an unknown label or category, no photo at all.
    """
    problems: list[str] = []
    photos = [photo for path in lists for photo in _read_list(path, folders, taxonomy, problems)]
    if not photos and not problems:
        problems.append("The lists hold no labelled photo.")
    if problems:
        raise BadLabels("\n".join(problems))
    return photos


def _read_list(path: Path, folders: Sequence[Path], taxonomy: Taxonomy, problems: list[str]) -> Iterable[LabelledPhoto]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problems.append(f"{path}: cannot be read: {error}")
        return
    categories = _find_categories(path, columns, taxonomy, problems)
    for line, row in enumerate(rows, start=2):
        accepted = {}
        for category in categories:
            labels = _split(row[category.name] or "")
            for label in sorted(labels - set(category.label_names)):
                problems.append(f"{path}, line {line}: {label!r} is no label of {category.name}")
            if labels:
                accepted[category.name] = labels
        photo = _find_photo(row[FILE_COLUMN] or "", [path.parent, *folders]) if categories else None
        if photo is not None and accepted:
            yield LabelledPhoto(photo, accepted)
        elif categories and photo is None:
            problems.append(f"{path}, line {line}: no photo {row[FILE_COLUMN]!r}; name its folder with --photos")


def _find_categories(path: Path, columns: Sequence[str], taxonomy: Taxonomy, problems: list[str]) -> list[Category]:
    known = {category.name: category for category in taxonomy.categories}
    if FILE_COLUMN not in columns or len(columns) < 2:
        problems.append(f"{path}: its first line has to name the columns: file, and categories of {taxonomy.name}")
        return []
    unknown = [column for column in columns if column != FILE_COLUMN and column not in known]
    if unknown:
        names = ", ".join(known)
        problems.append(f"{path}: {', '.join(map(repr, unknown))}: no category of {taxonomy.name}, which has {names}")
        return []
    return [known[column] for column in columns if column != FILE_COLUMN]


def _split(cell: str) -> frozenset[str]:
    return frozenset(label.strip() for label in cell.split(ALTERNATIVES) if label.strip())


def _find_photo(name: str, folders: Sequence[Path]) -> Path | None:
    return next((folder / name for folder in folders if name and (folder / name).is_file()), None)
