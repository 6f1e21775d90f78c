import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chassis.admission import Admission, QueueFull
from chassis.errors import InvalidArgument
from chassis.images.decoding import Limits
from services.captioner.batched_model import BatchedModel
from services.captioner.calibration_file import Calibrations
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.errors import ModelMismatch
from services.captioner.features import PhotoReader
from services.captioner.image_input import Pixels
from services.captioner.image_text_model import Embedding, Embeddings
from services.captioner.taxonomy import Taxonomy
from tests.unit.services.captioner.fakes import ColorModel, ThreadEncoder, a_photo, encode

RED = np.array([1, 0, 0, 0], dtype=np.float32)
RED_PHOTO = encode(a_photo("red"))
TEXTS = ["a red box", "a blue box"]
THINGS = Taxonomy.model_validate(
    {
        "name": "things",
        "description": "Things.",
        "categories": [
            {"name": "kind", "reader": "zero_shot", "prompts": ["a {}", "one {}"], "labels": ["red pear", "blue sky"]}
        ],
    }
)


class DoubtfulModel(ColorModel):
    """Doubts what it sees: most of each image lies on an axis without texts."""

    card = replace(ColorModel.card, dimension=5)

    def encode_images(self, images: Pixels) -> Embeddings:
        return np.pad(0.6 * super().encode_images(images), ((0, 0), (0, 1)), constant_values=0.8)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        return np.pad(super().encode_texts(texts), ((0, 0), (0, 1)))


class CountingAdmission(Admission):
    """Counts the permits that it gave."""

    given = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        with super().admit():
            self.given += 1
            yield


@pytest.fixture
def admission() -> CountingAdmission:
    return CountingAdmission("captioner", 1)


@pytest.fixture
async def model() -> AsyncIterator[BatchedModel]:
    async with BatchedModel(ThreadEncoder(ColorModel()), max_batch=8, max_wait_s=0) as model:
        yield model


@pytest.fixture
async def reader(model: BatchedModel, admission: CountingAdmission, tmp_path: Path) -> AsyncIterator[PhotoReader]:
    async with open_reader(model, admission, tmp_path) as reader:
        yield reader


@asynccontextmanager
async def open_reader(model: BatchedModel, admission: Admission, cache_dir: Path) -> AsyncIterator[PhotoReader]:
    with ThreadPoolExecutor(1) as executor:
        limits, cache = Limits(1_000_000, 1_000_000), EmbeddingCache(cache_dir)
        yield await PhotoReader.open(model, {"things": THINGS}, Calibrations(), cache, limits, admission, executor)


async def test_a_text_is_scored_the_same_ever_after(reader: PhotoReader) -> None:
    first = (await reader.score(RED, TEXTS)).scores
    again = (await reader.score(RED, [*reversed(TEXTS), "a green box"])).scores
    assert again[:2] == first[::-1]
    assert first[0] > first[1]


@pytest.mark.parametrize("photo", [RED, RED_PHOTO], ids=["embedded", "encoded"])
async def test_scoring_takes_one_permit(
    reader: PhotoReader, admission: CountingAdmission, photo: Embedding | bytes
) -> None:
    red, blue = (await reader.score(photo, TEXTS)).scores

    assert red > blue
    assert admission.given == 1


async def test_a_photo_that_was_accepted_is_scored_while_others_are_refused(reader: PhotoReader) -> None:
    scoring = asyncio.ensure_future(reader.score(RED_PHOTO, TEXTS))
    await asyncio.sleep(0)
    while not scoring.done():
        with pytest.raises(QueueFull):
            await reader.score(RED, TEXTS)
        await asyncio.sleep(0)
    red, blue = (await scoring).scores

    assert red > blue


async def test_a_second_start_embeds_no_labels(tmp_path: Path) -> None:
    encoded = []
    for _ in range(2):
        color_model = ColorModel()
        async with BatchedModel(ThreadEncoder(color_model), max_batch=8, max_wait_s=0) as model:
            with ThreadPoolExecutor(1) as executor:
                cache = EmbeddingCache(tmp_path)
                await PhotoReader.open(
                    model, {"things": THINGS}, Calibrations(), cache, Limits(), Admission("captioner", 9), executor
                )
        encoded.append(color_model.encoded_texts)

    assert encoded == [["a red pear", "one red pear", "a blue sky", "one blue sky"], []]


def test_the_embedding_of_another_model_is_refused(reader: PhotoReader) -> None:
    with pytest.raises(ModelMismatch, match="other-model"):
        reader.check_embedding([1.0, 0.0, 0.0, 0.0], "other-model")


@pytest.mark.parametrize("values", [[1.0], [0.0] * 4, [float("nan")] * 4])
def test_an_embedding_without_the_right_dimension_or_a_direction_is_refused(
    reader: PhotoReader, values: list[float]
) -> None:
    with pytest.raises(InvalidArgument, match=r"embedding\.values"):
        reader.check_embedding(values, "color-model")


async def test_embedding_texts_takes_one_permit(reader: PhotoReader, admission: CountingAdmission) -> None:
    await reader.embed_texts(TEXTS)

    assert admission.given == 1


async def test_a_photo_in_doubt_is_found_by_what_it_shows(admission: CountingAdmission, tmp_path: Path) -> None:
    async with (
        BatchedModel(ThreadEncoder(DoubtfulModel()), max_batch=8, max_wait_s=0) as model,
        open_reader(model, admission, tmp_path) as reader,
    ):
        photo = await reader.read(RED_PHOTO, "things")
        red, blue = (await reader.embed_texts(TEXTS)).rows

    assert (len(photo.embedding), len(photo.search_embedding), len(red)) == (5, 4, 4)
    assert photo.search_embedding @ red > 0.99
    assert photo.search_embedding @ blue < 0.1
