"""Taxonomies: what photos are read against. Each is a YAML file that a user may edit; taxonomies/README.md says how."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from services.captioner.color_names import COLOR_ANCHORS
from services.captioner.errors import BadTaxonomy, TaxonomyNotFound

SHIPPED_DIR = Path(__file__).parent / "taxonomies"

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
# Categories become attributes that backgrounds are filtered by, and so share their rule.
CategoryName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Hex = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ZeroShotLabel(_Part):
    """A label, and further names that a photo may fit just as well."""

    name: Name
    also: tuple[Name, ...] = ()


class PaletteLabel(_Part):
    """A colour: one of `color_names`, or any other with its sRGB values."""

    name: Name
    hex: tuple[Hex, ...] = ()

    @model_validator(mode="after")
    def _has_anchors(self) -> Self:
        if not self.hex and self.name not in COLOR_ANCHORS:
            raise ValueError(f"{self.name!r} is no colour that is known by name: give it hex values")
        return self


class PhotometricLabel(_Part):
    """A measure's side of a bound."""

    name: Name
    measure: Literal["lightness", "contrast", "chroma", "warmth"]
    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _has_one_bound(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"give {self.name!r} either `above` or `below`")
        return self


def _from_name(label: object) -> object:
    return {"name": label} if isinstance(label, str) else label


class _Category(_Part):
    name: CategoryName
    max_labels: Annotated[int, Field(ge=1, le=20)] = 1
    min_confidence: Share = 0
    min_margin: Share = 0

    @model_validator(mode="after")
    def _has_distinct_labels(self) -> Self:
        _require_distinct("label", self.label_names)
        return self

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels, in the file's order."""
        raise NotImplementedError


class ZeroShotCategory(_Category):
    """Read by the image-text model: the photo against prompts made of the labels."""

    reader: Literal["zero_shot"]
    prompts: Annotated[tuple[str, ...], Field(min_length=1)] = ("{}",)
    labels: Annotated[tuple[Annotated[ZeroShotLabel, BeforeValidator(_from_name)], ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _has_places_for_labels(self) -> Self:
        for prompt in self.prompts:
            if prompt.count("{}") != 1:
                raise ValueError(f"the prompt {prompt!r} needs one {{}} where the label goes")
        return self

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels, in the file's order."""
        return tuple(label.name for label in self.labels)


class PaletteCategory(_Category):
    """Read from the pixels: which named colours they are nearest to."""

    reader: Literal["palette"]
    labels: Annotated[tuple[Annotated[PaletteLabel, BeforeValidator(_from_name)], ...], Field(min_length=2)]

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels, in the file's order."""
        return tuple(label.name for label in self.labels)


class PhotometricCategory(_Category):
    """Read from the pixels: how light, contrasted, colourful and warm they are on the whole."""

    reader: Literal["photometric"]
    min_confidence: Share = 0.5
    labels: Annotated[tuple[PhotometricLabel, ...], Field(min_length=1)]

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels, in the file's order."""
        return tuple(label.name for label in self.labels)


Category = Annotated[ZeroShotCategory | PaletteCategory | PhotometricCategory, Field(discriminator="reader")]


class Taxonomy(_Part):
    """Something to read photos against."""

    name: Identifier
    description: Name
    foreground: bool = False
    categories: Annotated[tuple[Category, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_distinct_categories(self) -> Self:
        _require_distinct("category", [category.name for category in self.categories])
        return self


def _require_distinct(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"the {kind} {name!r} stands there twice")
        seen.add(name)


def load_taxonomies(folder: Path | None = None) -> dict[str, Taxonomy]:
    """The shipped taxonomies and those of `folder`, by name; one of the user's replaces the shipped one of its name.

    Raises:
        BadTaxonomy: naming every problem of every file.
    """
    paths = sorted(SHIPPED_DIR.glob("*.yaml"))
    if folder is not None:
        if not folder.is_dir():
            raise BadTaxonomy(f"The folder of taxonomies does not exist: {folder}")
        paths += sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    taxonomies: dict[str, Taxonomy] = {}
    problems: list[str] = []
    for path in paths:
        try:
            taxonomy = load_taxonomy(path)
            taxonomies[taxonomy.name] = taxonomy
        except BadTaxonomy as error:
            problems.append(error.message)
    if problems:
        raise BadTaxonomy("\n".join(problems))
    return taxonomies


def load_taxonomy(path: Path) -> Taxonomy:
    """Reads one file.

    Raises:
        BadTaxonomy: naming every problem of the file, each with its place.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise BadTaxonomy(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise BadTaxonomy(f"{path}: is not YAML: {error}") from error
    try:
        return Taxonomy.model_validate(content)
    except ValidationError as error:
        problems = [f"{path}: {_place(each['loc'])}: {each['msg']}" for each in error.errors()]
        raise BadTaxonomy("\n".join(problems)) from error


def _place(location: tuple[int | str, ...]) -> str:
    """`categories[0].labels[3].name`, from where pydantic found a problem."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in location]
    return "".join(steps).lstrip(".") or "the file"


def find_taxonomy(taxonomies: Mapping[str, Taxonomy], name: str) -> Taxonomy:
    """The taxonomy of that name.

    Raises:
        TaxonomyNotFound: there is none; the message lists those there are.
    """
    try:
        return taxonomies[name]
    except KeyError:
        raise TaxonomyNotFound(f"No taxonomy is named {name!r}; there are: {', '.join(sorted(taxonomies))}.") from None
