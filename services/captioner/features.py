"""Reads photos: what is prepared, what the model says of it, and what the pixels say come together here. No gRPC."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Histogram

from chassis.admission import Admission
from chassis.errors import InvalidArgument
from chassis.images.decoding import Limits
from chassis.tracing import span
from services.captioner.batched_model import BatchedModel, Embedded
from services.captioner.calibration_file import Calibrations, CategoryCalibration
from services.captioner.category_readers import (
    CategoryReader,
    Observation,
    PaletteReader,
    PhotometricReader,
    ZeroShotReader,
)
from services.captioner.choice import ChosenLabel, choose_labels
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.errors import ModelMismatch
from services.captioner.foreground import shrink
from services.captioner.free_space import FreeSpace, measure_free_space
from services.captioner.image_text_model import Embedding
from services.captioner.label_embeddings import LabelEmbeddings, LabelTexts
from services.captioner.palette import Clusters, ColorNamer, PaletteColor, find_clusters, name_palette, to_lab
from services.captioner.photometry import Photometry, measure
from services.captioner.prepared_photo import PreparedPhoto, prepare
from services.captioner.taxonomy import (
    Category,
    PaletteCategory,
    PhotometricCategory,
    Taxonomy,
    ZeroShotCategory,
    find_taxonomy,
)

DECODE_SECONDS = Histogram(
    "backdrop_captioner_decode_seconds",
    "Decoding a photo and cutting out what the model looks at.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)

_Result = TypeVar("_Result")
Readers = Sequence[tuple[Category, CategoryReader]]


@dataclass(frozen=True, slots=True)
class Feature:
    """What was read for one category.

    Attributes:
        category: that was read.
        labels: those that hold; none when none led clearly.
        calibrated: whether the confidences are how often such readings are right, measured on labelled photos.
    """

    category: Category
    labels: tuple[ChosenLabel, ...]
    calibrated: bool


@dataclass(frozen=True, slots=True)
class PhotoFeatures:
    """All that was read in a photo.

    Attributes:
        photo: as the model saw it.
        features: one for each category, in the taxonomy's order, then those that the request brought along.
        embedding: of the photo.
        search_embedding: of the photo among others: the part of it that texts can reach, of shape (text dimension,).
        free_space: of the whole photo.
        palette: the product's main colours, or else the photo's.
        took: what the model took.
    """

    photo: PreparedPhoto
    features: tuple[Feature, ...]
    embedding: Embedding
    search_embedding: Embedding
    free_space: FreeSpace
    palette: tuple[PaletteColor, ...]
    took: Embedded


@dataclass(frozen=True, slots=True)
class TextScores:
    """How well texts fit a photo.

    Attributes:
        scores: the cosine of the photo and each text, -1 to 1.
        took: what the model took for the photo, or for the texts when the photo came embedded.
        decode_s: what decoding took; None when the photo came embedded.
    """

    scores: tuple[float, ...]
    took: Embedded
    decode_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Pixels:
    """What the pixels alone say."""

    clusters: Clusters
    photometry: Photometry
    palette: tuple[PaletteColor, ...]
    free_space: FreeSpace


class PhotoReader:
    """Reads photos with one model against some taxonomies. Its methods belong to one event loop, and never block it.

    Args:
        model: that embeds photos and texts.
        taxonomies: by name.
        readers: for each category of each taxonomy, by the taxonomy's name.
        limits: on photos.
        admission: of requests that need the model.
        executor: the threads that photos are decoded in.
    """

    def __init__(
        self,
        model: BatchedModel,
        taxonomies: Mapping[str, Taxonomy],
        readers: Mapping[str, Readers],
        limits: Limits,
        admission: Admission,
        executor: Executor,
    ) -> None:
        self.card = model.card
        self.taxonomies = taxonomies
        self.readers = readers
        self._model = model
        self._limits = limits
        self._admission = admission
        self._executor = executor
        self._color_namer = ColorNamer()

    @classmethod
    async def open(
        cls,
        model: BatchedModel,
        taxonomies: Mapping[str, Taxonomy],
        calibrations: Calibrations,
        cache: EmbeddingCache,
        limits: Limits,
        admission: Admission,
        executor: Executor,
    ) -> Self:
        """Embeds the labels of all taxonomies, or takes their embeddings from `cache`."""

        async def open_reader(taxonomy: str, category: Category) -> CategoryReader:
            return await _open_reader(category, model, cache, calibrations.find(model.card.name, taxonomy, category))

        readers = {
            name: [(category, await open_reader(name, category)) for category in taxonomy.categories]
            for name, taxonomy in taxonomies.items()
        }
        return cls(model, taxonomies, readers, limits, admission, executor)

    async def read(
        self,
        image: bytes,
        taxonomy_name: str,
        categories: Sequence[ZeroShotCategory] = (),
        deadline: float | None = None,
    ) -> PhotoFeatures:
        """Reads an encoded photo.

        Args:
            image: the photo.
            taxonomy_name: of the taxonomy to read it against; may be empty when there are `categories`.
            categories: further ones, of the caller's own.
            deadline: on the event loop's clock.

        Raises:
            InvalidArgument: the photo is damaged or over a limit, or there is nothing to read it against.
            TaxonomyNotFound: there is no such taxonomy.
            QueueFull: too many requests are pending.
            BackdropError: as `Batcher.submit` does.
        """
        taxonomy = self._find_taxonomy(taxonomy_name, categories)
        with self._admission.admit():
            own = [(each, await self._open_own_reader(each, deadline)) for each in categories]
            photo = await self._prepare(image, cut_out=taxonomy is not None and taxonomy.foreground)
            embedded, pixels = await asyncio.gather(
                self._model.embed_images(photo.views, deadline), self._in_thread(self._read_pixels, photo)
            )
            embedding = _mean_direction(embedded)
            observation = Observation(embedding, pixels.clusters, pixels.photometry)
            readers = [*(self.readers[taxonomy_name] if taxonomy else ()), *own]
            features = await self._in_thread(_read_categories, readers, observation)
            return PhotoFeatures(
                photo=photo,
                features=features,
                embedding=embedding,
                search_embedding=_scale_to_unit(embedding[: self.card.text_dimension]),
                free_space=pixels.free_space,
                palette=pixels.palette,
                took=embedded,
            )

    async def score(self, photo: Embedding | bytes, texts: Sequence[str], deadline: float | None = None) -> TextScores:
        """Scores texts by how well they fit a photo.

        Args:
            photo: embedded, or encoded; of an encoded one the foreground is embedded too when one stands out.
            texts: to score.
            deadline: on the event loop's clock.

        Raises:
            InvalidArgument: the encoded photo is damaged or over a limit.
            QueueFull: too many requests are pending.
            BackdropError: as `Batcher.submit` does.
        """
        with self._admission.admit():
            if not isinstance(photo, bytes):
                of_texts = await self._model.embed_texts(texts, deadline)
                return TextScores(_cosines(of_texts, photo), of_texts)
            prepared = await self._prepare(photo, cut_out=True)
            of_photo = await self._model.embed_images(prepared.views, deadline)
            of_texts = await self._model.embed_texts(texts, deadline)
            return TextScores(_cosines(of_texts, _mean_direction(of_photo)), of_photo, prepared.decode_s)

    async def embed_texts(self, texts: Sequence[str], deadline: float | None = None) -> Embedded:
        """Embeds texts where photos' search embeddings are.

        Args:
            texts: to embed.
            deadline: on the event loop's clock.

        Raises:
            QueueFull: too many requests are pending.
            BackdropError: as `Batcher.submit` does.
        """
        with self._admission.admit():
            embedded = await self._model.embed_texts(texts, deadline)
            return replace(embedded, rows=embedded.rows[:, : self.card.text_dimension])

    async def check(self) -> None:
        """Raises when photos and texts no longer reach the model."""
        await self._model.check()

    def check_embedding(self, values: Sequence[float], model_name: str) -> Embedding:
        """An embedding that a client sent, at unit length.

        Raises:
            ModelMismatch: another model made it.
            InvalidArgument: its dimension is not the model's, or it has no direction.
        """
        if model_name != self.card.name:
            raise ModelMismatch(
                f"The embedding was made by {model_name!r}, but {self.card.name!r} is loaded: extract the photo's "
                "features again.",
                metadata={"embedding_model": model_name, "loaded_model": self.card.name},
            )
        embedding = np.array(values, dtype=np.float32)
        if len(embedding) != self.card.dimension:
            raise InvalidArgument.of(
                "embedding.values", f"it has {len(embedding)} values; {self.card.name} has {self.card.dimension}"
            )
        length = float(np.linalg.norm(embedding))
        if not np.isfinite(length) or length == 0:
            raise InvalidArgument.of("embedding.values", "its length is zero or not finite; send it as it was received")
        return embedding / np.float32(length)

    def _find_taxonomy(self, name: str, categories: Sequence[ZeroShotCategory]) -> Taxonomy | None:
        if not name and not categories:
            raise InvalidArgument.of("taxonomy", "name a taxonomy (ListTaxonomies lists them), or send categories")
        taxonomy = find_taxonomy(self.taxonomies, name) if name else None
        taken = {each.name for each in taxonomy.categories} if taxonomy else set()
        for index, category in enumerate(categories):
            if category.name in taken:
                raise InvalidArgument.of(f"categories[{index}].name", f"{category.name!r} is taken; name it otherwise")
            taken.add(category.name)
        return taxonomy

    async def _open_own_reader(self, category: ZeroShotCategory, deadline: float | None) -> ZeroShotReader:
        labels = await self._model.embed_labels(LabelTexts.of(category, category.prompts), deadline)
        return ZeroShotReader(category, labels, self.card.logit_scale)

    async def _prepare(self, image: bytes, *, cut_out: bool) -> PreparedPhoto:
        with self._model.image_coming(), span("decode"):
            photo = await self._in_thread(lambda: prepare(image, self._limits, self.card.image_input, cut_out=cut_out))
        DECODE_SECONDS.observe(photo.decode_s)
        return photo

    def _read_pixels(self, photo: PreparedPhoto) -> _Pixels:
        pixels = photo.main_pixels()
        clusters = find_clusters(pixels)
        return _Pixels(
            clusters,
            measure(to_lab(pixels)),
            tuple(name_palette(clusters, self._color_namer)),
            measure_free_space(shrink(photo.image)),
        )

    async def _in_thread(self, work: Callable[..., _Result], *args: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)


async def _open_reader(
    category: Category, model: BatchedModel, cache: EmbeddingCache, calibration: CategoryCalibration | None
) -> CategoryReader:
    match category:
        case ZeroShotCategory():
            labels = await _embed_labels(category, model, cache)
            return ZeroShotReader(category, labels, model.card.logit_scale, calibration)
        case PaletteCategory():
            return PaletteReader(category)
        case PhotometricCategory():
            return PhotometricReader(category)


async def _embed_labels(category: ZeroShotCategory, model: BatchedModel, cache: EmbeddingCache) -> LabelEmbeddings:
    name = model.card.name
    labels = LabelTexts.of(category, category.prompts if model.card.prompted else ("{}",))
    embeddings = cache.find(name, labels.texts)
    if embeddings is None:
        embeddings = (await model.embed_texts(labels.texts)).rows
        cache.keep(name, labels.texts, embeddings)
    return labels.combine(embeddings)


def _read_categories(readers: Readers, observation: Observation) -> tuple[Feature, ...]:
    return tuple(_read_category(category, reader, observation) for category, reader in readers)


def _read_category(category: Category, reader: CategoryReader, observation: Observation) -> Feature:
    labels = choose_labels(
        reader.confidences(observation), category.max_labels, reader.min_confidence, reader.min_margin
    )
    return Feature(category, labels, reader.calibrated)


def _mean_direction(views: Embedded) -> NDArray[np.float32]:
    """The mean of the views' embeddings, at unit length."""
    return _scale_to_unit(views.rows.mean(axis=0))


def _scale_to_unit(vector: NDArray[np.float32]) -> Embedding:
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def _cosines(texts: Embedded, embedding: Embedding) -> tuple[float, ...]:
    return tuple(np.clip(texts.rows @ embedding, -1, 1).tolist())
