"""The gateway's own words: plain values that every stage of a recommendation takes and gives."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Label:
    """A label that a photo supports, with confidence and lead over the next one, both 0 to 1."""

    name: str
    confidence: float
    margin: float


@dataclass(frozen=True, slots=True)
class Feature:
    """What was read for one category; no labels when unsure."""

    category: str
    labels: tuple[Label, ...] = ()
    unsure: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The labels' names, the most confident first."""
        return tuple(label.name for label in self.labels)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels; the origin is the top left corner."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PaletteColor:
    """A colour of a picture, `#rrggbb` in sRGB, and the part of the picture that it covers."""

    hex: str
    share: float


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """How calm a picture is, row by row from the top left: 0 is full of detail, 1 is plain."""

    columns: int
    rows: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Embedding:
    """A picture or a text in the image-text model's space, to be compared with those of the same model."""

    values: tuple[float, ...]
    model: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What the captioner read from a photo.

    Attributes:
        embedding: the photo in the image-text model's space, unit length, for judging texts of it.
        search_embedding: the photo as it is compared with texts and with other photos; unit length.
        foreground: where the product is, when one stood out.
        palette: the product's main colours where it stood out, otherwise the photo's.
    """

    features: tuple[Feature, ...]
    embedding: tuple[float, ...]
    foreground: Box | None
    model: str
    width: int
    height: int
    content_type: str
    search_embedding: Embedding | None = None
    palette: tuple[PaletteColor, ...] = ()
    free_space: FreeSpace | None = None

    @property
    def aspect_ratio(self) -> float:
        """Width over height of the product where it stood out, otherwise of the photo."""
        box = self.foreground or Box(0, 0, self.width, self.height)
        return box.width / box.height if box.height else 0.0

    @property
    def sure(self) -> tuple[Feature, ...]:
        """The features that have labels."""
        return tuple(feature for feature in self.features if feature.labels)


class Subject(StrEnum):
    """What a photo shows; the values are the names of the taxonomies that it is read against."""

    PRODUCT = "product"
    BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Translation:
    """A caption and a scene in another language than English."""

    caption: str
    scene: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A caption of a photo and the scene that it suggests, as written: not yet checked against the photo.

    Attributes:
        unsupported: words of the caption that no feature supports.
        unsuitable: words of the scene that show what a background must not.
    """

    caption: str
    scene: str
    unsupported: tuple[str, ...] = ()
    unsuitable: tuple[str, ...] = ()
    translation: Translation | None = None


@dataclass(frozen=True, slots=True)
class Drafts:
    """The answer of a language model; the language is that of the translations, `en` when there are none."""

    drafts: tuple[Draft, ...]
    model: str
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A draft with its verdict.

    Attributes:
        score: cosine of caption and photo, -1 to 1.
        reason: why it is used or dropped, in a sentence.
    """

    draft: Draft
    score: float
    used: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Degradation:
    """A stage that was done in another way than usual, and why."""

    stage: str
    reason: str
    message: str


class CaptionSource(StrEnum):
    """Where a caption of a background came from."""

    GIVEN = "given"
    GENERATED = "generated"
    TEMPLATE = "template"


@dataclass(frozen=True, slots=True)
class Caption:
    """A text that a background is searched by."""

    text: str
    source: CaptionSource


@dataclass(frozen=True, slots=True)
class Background:
    """A background of a library, without its pixels.

    Attributes:
        attributes: the shop's own words to filter by.
        expire_time: from when on it is not recommended any more, with a time zone.
    """

    name: str
    title: str
    keywords: tuple[str, ...]
    captions: tuple[Caption, ...]
    features: tuple[Feature, ...]
    width: int
    height: int
    content_type: str
    size_bytes: int
    sha256: str
    degraded: tuple[Degradation, ...] = ()
    update_time: datetime | None = None
    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    expire_time: datetime | None = None
    palette: tuple[PaletteColor, ...] = ()

    @property
    def orientation(self) -> str:
        """`landscape`, `portrait` or `square`."""
        if self.width == self.height:
            return "square"
        return "landscape" if self.width > self.height else "portrait"


@dataclass(frozen=True, slots=True)
class Filter:
    """Keeps backgrounds that have one of the values of an attribute, or none of them."""

    key: str
    any_of: tuple[str, ...]
    exclude: bool = False


@dataclass(frozen=True, slots=True)
class RangeFilter:
    """Keeps backgrounds whose number `key` lies between the limits, both included; with `exclude`, the others."""

    key: str
    minimum: float | None = None
    maximum: float | None = None
    exclude: bool = False


Condition = Filter | RangeFilter


@dataclass(frozen=True, slots=True)
class Library:
    """A library as a whole.

    Attributes:
        etag: the state in which equal requests are ranked alike; empty when that cannot be told.
        rules: what every recommendation fulfils.
    """

    etag: str
    rules: tuple[Condition, ...]


class Signal(StrEnum):
    """What a background is judged by."""

    TEXT = "text"
    IMAGE = "image"
    PHOTO = "photo"
    COLOR = "color"
    SPACE = "space"
    KEYWORDS = "keywords"
    FEEDBACK = "feedback"


@dataclass(frozen=True, slots=True)
class SignalPart:
    """What one signal contributed to a score: similarity times weight."""

    signal: Signal
    similarity: float
    weight: float

    @property
    def contribution(self) -> float:
        """Its part of the score."""
        return self.similarity * self.weight


class Preset(StrEnum):
    """The shape of a preview."""

    SQUARE = "square"
    PORTRAIT = "portrait"
    LANDSCAPE = "landscape"
    MARKETPLACE = "marketplace"


class Format(StrEnum):
    """How a preview is encoded."""

    JPEG = "jpeg"
    WEBP = "webp"
    PNG = "png"


@dataclass(frozen=True, slots=True)
class PreviewForm:
    """What a preview is to be like; `size` is its longer side in pixels, 0 for the compositor's own."""

    preset: Preset = Preset.SQUARE
    size: int = 0
    format: Format = Format.JPEG


@dataclass(frozen=True, slots=True)
class PreviewWish:
    """Previews of the best `count` recommendations."""

    form: PreviewForm
    count: int


@dataclass(frozen=True, slots=True)
class CutOut:
    """How a product was cut out of its photo.

    Attributes:
        from_alpha: it is the photo's own alpha channel.
        confidence: 0 to 1.
        rough: a person should look before it is used.
        reason: why it is rough, in a sentence.
    """

    from_alpha: bool
    confidence: float
    rough: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Preview:
    """A product shown in a background.

    Attributes:
        background: its name; empty where there is none.
        product: where it stands, in pixels of the preview.
        product_scale: pixels of the preview for a pixel of the photo.
    """

    background: str
    image: bytes
    content_type: str
    width: int
    height: int
    cut_out: CutOut
    product: Box
    product_scale: float


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for, beside a photo.

    Attributes:
        library: `libraries/{library}`.
        conditions: which backgrounds to consider; all must hold.
        limit: the most backgrounds to return.
        language: BCP 47 tag that captions are written in.
        diversity: 0 for the best first, up to 1 for backgrounds as unlike each other as they can be.
        weights: of signals, instead of the ranker's own.
        preview: what to render, if anything.
    """

    library: str
    conditions: tuple[Condition, ...] = ()
    limit: int = 5
    language: str = ""
    diversity: float = 0.0
    weights: dict[Signal, float] = field(default_factory=dict)
    preview: PreviewWish | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A background that the ranker found, with the scene and the caption that matched best.

    Attributes:
        signals: the score's parts, the strongest first.
        duplicates: names of backgrounds that look the same and rank below.
    """

    background: Background
    score: float
    matched_scene: str
    matched_caption: str
    signals: tuple[SignalPart, ...] = ()
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the ranker found.

    Attributes:
        hits: the best first.
        model: that compared.
        unused: the signals that took no part, each with the reason.
        recommendation_id: by which feedback is given; empty where none can be.
        applied_rules: of the library, beside the conditions of the wish.
        empty_reason: why there are no hits, in whole sentences.
    """

    hits: tuple[Hit, ...]
    model: str
    unused: tuple[tuple[Signal, str], ...] = ()
    recommendation_id: str = ""
    applied_rules: tuple[Condition, ...] = ()
    empty_reason: str = ""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What was said of one recommendation: names of backgrounds that were chosen, rejected, and shown at all."""

    recommendation_id: str
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    shown: tuple[str, ...] = ()
    update_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A hit with the reason for it, in one plain sentence."""

    hit: Hit
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """What one stage adds to the answer to a product photo.

    Attributes:
        stage: `features`, `captions`, `ranking` or `previews`, which comes once for each and once when all are done.
        stages_s: how long it took, by what was done.
    """

    stage: str
    reading: Reading | None = None
    candidates: tuple[Candidate, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()
    degraded: tuple[Degradation, ...] = ()
    stages_s: dict[str, float] = field(default_factory=dict)
    language_model: str = ""
    embedding_model: str = ""
    recommendation_id: str = ""
    previews: tuple[Preview, ...] = ()
    applied_rules: tuple[Condition, ...] = ()
    empty_reason: str = ""
