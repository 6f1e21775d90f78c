"""The captioner as a real server: its contract, with a tiny model that knows three colours."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest
from PIL import Image

from backdrop.captioner.v1 import captioner_pb2 as pb
from backdrop.captioner.v1 import captioner_pb2_grpc
from chassis import errors, server
from chassis.admission import Admission
from chassis.errors import OutOfMemory
from chassis.images.decoding import Limits
from chassis.networks.errors import ModelFailed
from services.captioner.batched_model import BatchedModel
from services.captioner.calibration_file import Calibrations
from services.captioner.config import CaptionerConfig
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.features import PhotoReader
from services.captioner.image_input import Pixels
from services.captioner.image_text_model import Embeddings
from services.captioner.servicer import SERVICE_NAME, CaptionerServicer
from services.captioner.taxonomy import load_taxonomies, load_taxonomy
from tests.hostile import hostile_images
from tests.unit.services.captioner.fakes import ColorModel, ThreadEncoder, a_photo, encode

# The class is in the type stubs only.
Captioner: TypeAlias = "captioner_pb2_grpc.CaptionerServiceAsyncStub"

TAXONOMY = """
name: things
description: Things of three colours.
foreground: true
categories:
  - name: kind
    reader: zero_shot
    min_confidence: 0.5
    min_margin: 0.2
    labels: [red fruit, green leaf, {name: water, also: [blue water]}]
  - name: color
    reader: palette
    max_labels: 2
    min_confidence: 0.2
    labels: [red, green, blue, white, black]
  - name: light
    reader: photometric
    max_labels: 2
    labels:
      - {name: bright, measure: lightness, above: 80}
      - {name: dark, measure: lightness, below: 20}
"""


class MoodyModel(ColorModel):
    """Fails on black images as when memory runs out, on white ones otherwise, and waits on request."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.started = threading.Event()
        self.images = 0
        self.batches: list[int] = []

    def encode_images(self, images: Pixels) -> Embeddings:
        self.started.set()
        assert self.may_go_on.wait(timeout=30)
        self.images += len(images)
        self.batches.append(len(images))
        if any(image.max() == 0 for image in images):
            raise OutOfMemory("The captioner's device is out of memory; try again later.", retry_after_s=1)
        if any(image.min() == 255 for image in images):
            raise ModelFailed("The image-text model failed on this request.")
        return super().encode_images(images)


@pytest.fixture
def model() -> Iterator[MoodyModel]:
    model = MoodyModel()
    yield model
    model.may_go_on.set()


MAX_PENDING = 40
SHIPPED = load_taxonomies()


@pytest.fixture
async def captioner(model: MoodyModel, tmp_path: Path) -> AsyncIterator[Captioner]:
    (tmp_path / "things.yaml").write_text(TAXONOMY)
    taxonomies = SHIPPED | {"things": load_taxonomy(tmp_path / "things.yaml")}
    cache, admission = EmbeddingCache(tmp_path), Admission("captioner", MAX_PENDING)
    async with BatchedModel(ThreadEncoder(model), max_batch=8, max_wait_s=0.005) as batched:
        with ThreadPoolExecutor(2) as executor:
            reader = await PhotoReader.open(batched, taxonomies, Calibrations(), cache, Limits(), admission, executor)
            servicer = CaptionerServicer(reader)
            application = server.Application(
                {SERVICE_NAME: lambda to: captioner_pb2_grpc.add_CaptionerServiceServicer_to_server(servicer, to)}
            )
            async with (
                server.start(CaptionerConfig(port=0), application) as running,
                grpc.aio.insecure_channel(
                    f"127.0.0.1:{running.port}", options=[("grpc.max_send_message_length", 64 << 20)]
                ) as channel,
            ):
                yield captioner_pb2_grpc.CaptionerServiceStub(channel)


def extract(captioner: Captioner, image: bytes, taxonomy: str = "things") -> Awaitable[pb.ExtractFeaturesResponse]:
    return captioner.ExtractFeatures(pb.ExtractFeaturesRequest(image=image, taxonomy=taxonomy))


async def failure(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str, list[str], str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = errors.status_of(caught.value)
    fields = [each.field for each in errors.violations_of(status)]
    return caught.value.code(), errors.reason_of(status), fields, status.message


def labels(response: pb.ExtractFeaturesResponse) -> dict[str, list[str]]:
    return {feature.category: [label.name for label in feature.labels] for feature in response.features}


RED_ON_WHITE = encode(a_photo("red", (400, 300), background="white"))


async def test_a_photo_is_read_by_every_reader_of_its_taxonomy(captioner: Captioner) -> None:
    response = await extract(captioner, RED_ON_WHITE)

    assert labels(response) == {"kind": ["red fruit"], "color": ["red"], "light": []}
    assert [feature.reader for feature in response.features] == [
        pb.READER_ZERO_SHOT,
        pb.READER_PALETTE,
        pb.READER_PHOTOMETRIC,
    ]
    assert [feature.unsure for feature in response.features] == [False, False, True]
    kind = response.features[0].labels[0]
    assert 0.2 <= kind.margin <= kind.confidence <= 1
    assert (response.image_width, response.image_height, response.content_type) == (400, 300, "image/jpeg")
    assert response.model == response.embedding.model == "color-model"
    assert np.linalg.norm(response.embedding.values) == pytest.approx(1, abs=1e-5)


async def test_the_product_is_boxed_and_its_colours_are_the_products_alone(captioner: Captioner) -> None:
    response = await extract(captioner, RED_ON_WHITE)

    box = response.foreground
    np.testing.assert_allclose((box.left, box.top, box.width, box.height), (100, 75, 200, 150), atol=8)
    assert [color.name for color in response.palette] == ["red"]
    assert response.palette[0].hex.startswith("#f")


async def test_the_box_is_in_pixels_of_the_upright_photo(captioner: Captioner) -> None:
    sideways = Image.new("RGB", (400, 300), "white")
    sideways.paste("red", (0, 100, 100, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: left becomes top

    response = await extract(captioner, encode(sideways, exif=exif))

    box = response.foreground
    assert (response.image_width, response.image_height) == (300, 400)
    np.testing.assert_allclose((box.left, box.top, box.width, box.height), (100, 0, 100, 100), atol=8)


async def test_a_photo_in_which_nothing_stands_out_has_no_box(captioner: Captioner) -> None:
    response = await extract(captioner, encode(a_photo("blue")))

    assert not response.HasField("foreground")
    assert labels(response)["kind"] == ["water"]
    assert [color.name for color in response.palette] == ["blue"]


async def test_a_thin_margin_gives_unsure_and_no_label(captioner: Captioner) -> None:
    yellow = await extract(captioner, encode(a_photo((200, 200, 0))))

    assert yellow.features[0].unsure
    assert not yellow.features[0].labels


async def test_backgrounds_are_read_as_a_whole(captioner: Captioner) -> None:
    response = await extract(captioner, RED_ON_WHITE, "background")

    assert not response.HasField("foreground")
    assert labels(response)["color"] == ["white", "red"]


async def test_texts_are_scored_in_their_order_by_the_embedding(captioner: Captioner) -> None:
    read = await extract(captioner, RED_ON_WHITE)

    response = await captioner.ScoreTexts(
        pb.ScoreTextsRequest(embedding=read.embedding, texts=["a blue car", "a red car", "a red and green car"])
    )

    blue, red, both = response.scores
    assert blue < both < red
    assert (response.model, response.logit_scale, response.logit_bias) == ("color-model", 20, 0)


async def test_a_photo_and_its_embedding_score_alike(captioner: Captioner) -> None:
    read = await extract(captioner, RED_ON_WHITE)
    texts = ["red", "green"]

    by_embedding = await captioner.ScoreTexts(pb.ScoreTextsRequest(embedding=read.embedding, texts=texts))
    by_photo = await captioner.ScoreTexts(pb.ScoreTextsRequest(image=RED_ON_WHITE, texts=texts))

    np.testing.assert_allclose(by_embedding.scores, by_photo.scores, atol=1e-5)
    assert by_photo.processing.batch_size == 2
    assert by_photo.processing.HasField("decode_duration")


async def test_photos_are_found_among_others_by_embedded_texts(captioner: Captioner) -> None:
    photos = [await extract(captioner, encode(a_photo(color, background="white"))) for color in ("green", "red")]
    texts = ["a red car", "a green car", "a red car"]

    response = await captioner.EmbedTexts(pb.EmbedTextsRequest(texts=texts))

    searched = np.array([photo.search_embedding.values for photo in photos])
    embedded = np.array([each.values for each in response.embeddings])
    assert (embedded @ searched.T).argmax(axis=1).tolist() == [1, 0, 1]
    np.testing.assert_allclose(np.linalg.norm(np.vstack([embedded, searched]), axis=1), 1, atol=1e-5)
    assert {response.model, *(each.model for each in response.embeddings)} == {photos[0].search_embedding.model}
    assert response.processing.batch_size == 2


async def test_a_photo_tells_where_it_is_calm(captioner: Captioner) -> None:
    photo = Image.effect_noise((400, 300), 120).convert("RGB")
    photo.paste("white", (0, 0, 200, 300))

    free_space = (await extract(captioner, encode(photo), "background")).free_space

    assert (free_space.columns, free_space.rows) == (8, 8)
    grid = np.reshape(free_space.values, (8, 8))
    assert grid[:, :3].min() > 0.9
    assert grid[:, 5:].max() < 0.5


async def test_taxonomies_are_listed_with_their_categories_and_labels(captioner: Captioner) -> None:
    response = await captioner.ListTaxonomies(pb.ListTaxonomiesRequest())

    taxonomies = {taxonomy.name: taxonomy for taxonomy in response.taxonomies}
    assert set(taxonomies) == {"product", "background", "things"}
    kind, color, _ = taxonomies["things"].categories
    assert list(kind.labels) == ["red fruit", "green leaf", "water"]
    assert (color.reader, color.max_labels) == (pb.READER_PALETTE, 2)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (b"", "1 byte to 32 MiB"),
        (b"just some text\n" * 100, "not a photo"),
        (encode(Image.effect_noise((300, 200), 80))[:9000], "truncated"),
        (bytes((32 << 20) + 1), "1 byte to 32 MiB"),
    ],
    ids=["empty", "text", "truncated", "too many bytes"],
)
async def test_a_bad_photo_is_refused_by_its_field_and_the_next_one_is_read(
    captioner: Captioner, image: bytes, says: str
) -> None:
    code, _, fields, message = await failure(extract(captioner, image))

    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["image"])
    assert says in message
    assert labels(await extract(captioner, RED_ON_WHITE))["kind"] == ["red fruit"]


async def test_a_bad_photo_to_score_is_refused_by_its_field(captioner: Captioner) -> None:
    call = captioner.ScoreTexts(pb.ScoreTextsRequest(image=b"no photo", texts=["red"]))

    code, _, fields, _ = await failure(call)

    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["image"])


async def test_an_unknown_taxonomy_is_not_found(captioner: Captioner) -> None:
    code, reason, _, message = await failure(extract(captioner, RED_ON_WHITE, "unknown"))

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "TAXONOMY_NOT_FOUND")
    assert "background, product, things" in message


async def test_an_embedding_of_another_model_is_refused(captioner: Captioner) -> None:
    embedding = pb.Embedding(values=[1, 0, 0, 0], model="another-model")

    code, reason, _, message = await failure(
        captioner.ScoreTexts(pb.ScoreTextsRequest(embedding=embedding, texts=["red"]))
    )

    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_MISMATCH")
    assert "another-model" in message


@pytest.mark.parametrize("values", [[1.0, 0.0], [0.0, 0.0, 0.0, 0.0], [float("nan"), 0.0, 0.0, 1.0]])
async def test_an_embedding_that_is_none_is_refused(captioner: Captioner, values: list[float]) -> None:
    embedding = pb.Embedding(values=values, model="color-model")

    code, _, fields, _ = await failure(captioner.ScoreTexts(pb.ScoreTextsRequest(embedding=embedding, texts=["red"])))

    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["embedding.values"])


@pytest.mark.parametrize(
    "request_",
    [
        pb.ScoreTextsRequest(texts=["red"]),
        pb.ScoreTextsRequest(image=RED_ON_WHITE),
        pb.ScoreTextsRequest(image=RED_ON_WHITE, texts=[""]),
        pb.ScoreTextsRequest(image=RED_ON_WHITE, texts=["red"] * 257),
    ],
    ids=["no source", "no texts", "an empty text", "too many texts"],
)
async def test_a_request_outside_the_contract_is_refused(captioner: Captioner, request_: pb.ScoreTextsRequest) -> None:
    assert (await failure(captioner.ScoreTexts(request_)))[0] == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("texts", [[], ["red"] * 65, ["red", ""], ["r" * 1001]])
async def test_texts_to_embed_outside_the_contract_are_refused(captioner: Captioner, texts: list[str]) -> None:
    code, _, fields, _ = await failure(captioner.EmbedTexts(pb.EmbedTextsRequest(texts=texts)))

    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert fields[0].startswith("texts")


async def test_a_device_out_of_memory_says_when_to_try_again(captioner: Captioner) -> None:
    code, reason, _, _ = await failure(extract(captioner, encode(a_photo("black"))))

    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OUT_OF_MEMORY")
    assert labels(await extract(captioner, RED_ON_WHITE))["kind"] == ["red fruit"]


async def test_what_torch_says_of_a_failure_is_not_sent(captioner: Captioner) -> None:
    code, reason, _, message = await failure(extract(captioner, encode(a_photo("white"))))

    assert (code, reason) == (grpc.StatusCode.INTERNAL, "MODEL_FAILED")
    assert "tensor" not in message


async def test_of_many_photos_at_once_only_the_bad_ones_fail(captioner: Captioner) -> None:
    photos = [RED_ON_WHITE, b"broken", encode(a_photo("black"))] * 8

    outcomes = await asyncio.gather(*(extract(captioner, photo) for photo in photos), return_exceptions=True)

    assert [isinstance(outcome, grpc.aio.AioRpcError) for outcome in outcomes] == [False, True, True] * 8


async def test_good_photos_among_hostile_images_are_read_as_if_alone(captioner: Captioner) -> None:
    alone = await extract(captioner, RED_ON_WHITE)
    at_once = asyncio.Semaphore(16)

    async def send(image: bytes) -> pb.ExtractFeaturesResponse | grpc.aio.AioRpcError:
        async with at_once:
            try:
                return await extract(captioner, image)
            except grpc.aio.AioRpcError as error:
                return error

    hostile, good = list(hostile_images(400, seed=3)), [RED_ON_WHITE] * 100
    answers = await asyncio.gather(*(send(each) for pair in zip(hostile, good * 4, strict=True) for each in pair))

    refusals = [each.code() for each in answers[::2] if isinstance(each, grpc.aio.AioRpcError)]
    # The tiny model fails on what is all black or all white.
    expected = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL}
    assert grpc.StatusCode.INVALID_ARGUMENT in refusals
    assert set(refusals) <= expected
    for answer in answers[1::2]:
        assert isinstance(answer, pb.ExtractFeaturesResponse)
        assert (answer.features, answer.embedding) == (alone.features, alone.embedding)


async def test_other_calls_are_answered_while_a_photo_is_read(captioner: Captioner, model: MoodyModel) -> None:
    model.may_go_on.clear()
    reading = asyncio.ensure_future(extract(captioner, RED_ON_WHITE))

    await asyncio.wait_for(captioner.ListTaxonomies(pb.ListTaxonomiesRequest()), timeout=5)

    assert not reading.done()
    model.may_go_on.set()
    assert labels(await reading)["kind"] == ["red fruit"]


async def test_a_photo_whose_client_has_gone_is_not_read(captioner: Captioner, model: MoodyModel) -> None:
    model.may_go_on.clear()
    # Two views each: the photo and its product.
    first = [asyncio.ensure_future(extract(captioner, RED_ON_WHITE)) for _ in range(8)]
    assert await asyncio.to_thread(model.started.wait, 10)
    gone = captioner.ExtractFeatures(pb.ExtractFeaturesRequest(image=RED_ON_WHITE, taxonomy="things"), timeout=0.3)
    assert (await failure(gone))[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.sleep(0.2)

    model.may_go_on.set()
    await asyncio.gather(*first)
    await extract(captioner, RED_ON_WHITE)

    assert model.images == 2 * 9


async def test_more_requests_than_may_wait_are_refused_at_once_with_a_hint_when_to_come_again(
    captioner: Captioner, model: MoodyModel
) -> None:
    model.may_go_on.clear()
    taken = [asyncio.ensure_future(extract(captioner, RED_ON_WHITE)) for _ in range(MAX_PENDING)]
    assert await asyncio.to_thread(model.started.wait, 10)
    await asyncio.sleep(0.3)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(extract(captioner, RED_ON_WHITE), timeout=10)
    await captioner.ListTaxonomies(pb.ListTaxonomiesRequest())
    model.may_go_on.set()
    answered = await asyncio.gather(*taken)

    status = errors.status_of(caught.value)
    assert (caught.value.code(), errors.reason_of(status)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert errors.retry_after_s_of(status)
    assert len(answered) == MAX_PENDING
    assert labels(await extract(captioner, RED_ON_WHITE))["kind"] == ["red fruit"]


async def test_photos_that_come_together_share_batches_and_say_so(captioner: Captioner, model: MoodyModel) -> None:
    answers = await asyncio.gather(*(extract(captioner, RED_ON_WHITE) for _ in range(20)))

    assert sum(model.batches) == 40
    assert max(model.batches) > 2
    assert max(each.processing.batch_size for each in answers) == max(model.batches)
    for answer in answers:
        took = answer.processing
        assert took.decode_duration.ToMicroseconds() > 0
        assert took.model_duration.ToMicroseconds() > 0
        assert took.queue_duration.ToMicroseconds() >= 0
        assert answer.embedding == answers[0].embedding


def own(name: str = "fruit", labels: Sequence[str] = ("red apple", "green pear"), **fields: Any) -> pb.CustomCategory:
    return pb.CustomCategory(name=name, labels=labels, **fields)


async def read_with(captioner: Captioner, *categories: pb.CustomCategory, taxonomy: str = "") -> Any:
    return await captioner.ExtractFeatures(
        pb.ExtractFeaturesRequest(image=RED_ON_WHITE, taxonomy=taxonomy, categories=categories)
    )


async def test_a_photo_is_read_against_labels_that_the_request_brings_along(
    captioner: Captioner, model: MoodyModel
) -> None:
    category = own(templates=["a photo of a {}", "one {}"], max_labels=2, min_confidence=0.9)
    response = await read_with(captioner, category)

    (feature,) = response.features
    assert (feature.category, [label.name for label in feature.labels]) == ("fruit", ["red apple"])
    assert (feature.reader, feature.calibrated) == (pb.READER_ZERO_SHOT, False)
    assert not response.HasField("foreground")
    assert model.encoded_texts[-4:] == [
        "a photo of a red apple",
        "one red apple",
        "a photo of a green pear",
        "one green pear",
    ]


async def test_such_labels_are_embedded_once(captioner: Captioner, model: MoodyModel) -> None:
    before = len(model.encoded_texts)
    await asyncio.gather(*(read_with(captioner, own(labels=["red", "teal", "pink"])) for _ in range(8)))
    again = await read_with(captioner, own("other_name", labels=["red", "teal", "pink"]))

    assert len(model.encoded_texts) == before + 3
    assert again.features[0].category == "other_name"


async def test_they_come_after_those_of_the_taxonomy(captioner: Captioner) -> None:
    response = await read_with(captioner, own(), own("season", ["red summer", "blue winter"]), taxonomy="things")

    assert [each.category for each in response.features] == ["kind", "color", "light", "fruit", "season"]
    assert response.HasField("foreground")


@pytest.mark.parametrize(
    ("category", "field"),
    [
        (own("kind"), "categories[0].name"),
        (own("Fruit!"), "categories[0].name"),
        (own(labels=["one"]), "categories[0].labels"),
        (own(labels=["one", "one"]), "categories[0].labels"),
        (own(labels=["one", " one"]), "categories[0].labels"),
        (own(labels=["one", " "]), "categories[0].labels"),
        (own(labels=["one", "x" * 101]), "categories[0].labels[1]"),
        (own(templates=["no place"]), "categories[0].templates[0]"),
        (own(templates=["{} and {}"]), "categories[0].templates[0]"),
        (own(labels=[str(each) for each in range(1000)], templates=["a {}", "b {}", "c {}"]), "categories[0]"),
        (own(max_labels=-1), "categories[0].max_labels"),
        (own(min_confidence=1.5), "categories[0].min_confidence"),
    ],
)
async def test_a_category_that_is_none_is_refused_by_its_field(
    captioner: Captioner, category: pb.CustomCategory, field: str
) -> None:
    code, _, fields, _ = await failure(read_with(captioner, category, taxonomy="things"))

    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_the_same_category_twice_is_refused(captioner: Captioner) -> None:
    code, _, fields, _ = await failure(read_with(captioner, own(), own()))

    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["categories[1].name"])


async def test_a_photo_needs_something_to_be_read_against(captioner: Captioner) -> None:
    code, _, fields, message = await failure(read_with(captioner))

    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["taxonomy"])
    assert "ListTaxonomies" in message


async def test_texts_that_were_scored_before_need_no_model(captioner: Captioner) -> None:
    read = await extract(captioner, RED_ON_WHITE)
    request = pb.ScoreTextsRequest(embedding=read.embedding, texts=["a red car"])
    first, again = await captioner.ScoreTexts(request), await captioner.ScoreTexts(request)

    assert first.scores == again.scores
    assert (first.processing.batch_size, again.processing.batch_size) == (1, 0)
    assert not again.processing.HasField("decode_duration")


async def test_texts_that_were_embedded_before_need_no_model(captioner: Captioner) -> None:
    request = pb.EmbedTextsRequest(texts=["a red car"])
    first, again = await captioner.EmbedTexts(request), await captioner.EmbedTexts(request)

    assert first.embeddings == again.embeddings
    assert (first.processing.batch_size, again.processing.batch_size) == (1, 0)
