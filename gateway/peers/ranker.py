"""The services behind the gateway, as calls that take and give plain values."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Self, TypeVar

import grpc
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from grpc_health.v1 import health_pb2, health_pb2_grpc

from backdrop.captioner.v1 import captioner_pb2, captioner_pb2_grpc
from backdrop.compositor.v1 import compositor_pb2, compositor_pb2_grpc
from backdrop.generator.v1 import generator_pb2, generator_pb2_grpc
from backdrop.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from chassis.channels import call_metadata, open_channel
from chassis.circuit import Circuit, Proof
from chassis.errors import BackdropError, Unavailable, from_rpc
from gateway import records
from gateway.condition_messages import from_conditions, to_conditions
from gateway.domain import (
    Background,
    Box,
    CaptionSource,
    Condition,
    CutOut,
    Draft,
    Drafts,
    Embedding,
    Feature,
    Feedback,
    FreeSpace,
    Hit,
    Label,
    Library,
    PaletteColor,
    Preview,
    PreviewForm,
    Ranking,
    Reading,
    Signal,
    SignalPart,
    Subject,
    Translation,
    Wish,
)
from gateway.records import PictureRecord

Response = TypeVar("Response")

HEALTH_TIMEOUT_S = 2.0
CIRCUIT_FAILURES = 3
CIRCUIT_OPEN_S = 5.0
PATIENCE_S = 2.0
"""A generator that did not answer in less has not failed yet: the caller was in a hurry."""
MAX_CAPTION_LENGTH = 1000
"""The ranker's limit, in characters."""


class Peer:
    """What all peers have: a channel, errors that are ours, and a look at their health."""

    name: ClassVar[str]
    service: ClassVar[str]

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._health = health_pb2_grpc.HealthStub(channel)

    @classmethod
    @asynccontextmanager
    async def connect(cls, target: str, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[Self]:
        """Opens a channel to `target` for the time of the `async with`, over TLS where there are credentials."""
        async with open_channel(target, cls.service, credentials) as channel:
            yield cls(channel)

    async def check(self) -> None:
        """Raises `Unavailable` while the peer is not ready."""
        request = health_pb2.HealthCheckRequest(service=self.service)
        response = await self._answer(self._health.Check(request, timeout=HEALTH_TIMEOUT_S))
        if response.status != health_pb2.HealthCheckResponse.SERVING:
            raise Unavailable(f"The {self.name} is not ready.")

    async def _answer(self, call: Awaitable[Response]) -> Response:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, self.name) from error


class Captioner(Peer):
    """Reads photos and scores texts against them."""

    name = "captioner"
    service = captioner_pb2.DESCRIPTOR.services_by_name["CaptionerService"].full_name

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self._stub = captioner_pb2_grpc.CaptionerServiceStub(channel)

    async def read(self, image: bytes, subject: Subject, timeout_s: float) -> Reading:
        """What the encoded photo shows, read against the subject's taxonomy."""
        request = captioner_pb2.ExtractFeaturesRequest(image=image, taxonomy=subject.value)
        call = self._stub.ExtractFeatures(request, timeout=timeout_s, metadata=call_metadata())
        return to_reading(await self._answer(call))

    async def score(self, reading: Reading, texts: Sequence[str], timeout_s: float) -> tuple[float, ...]:
        """The cosine of the photo with each of n texts, n of them, -1 to 1."""
        embedding = captioner_pb2.Embedding(values=reading.embedding, model=reading.model)
        request = captioner_pb2.ScoreTextsRequest(embedding=embedding, texts=texts)
        response = await self._answer(self._stub.ScoreTexts(request, timeout=timeout_s, metadata=call_metadata()))
        return tuple(response.scores)

    async def embed_texts(self, texts: Sequence[str], timeout_s: float) -> tuple[Embedding, ...]:
        """Each of n texts as it is compared with pictures, n of them."""
        request = captioner_pb2.EmbedTextsRequest(texts=texts)
        response = await self._answer(self._stub.EmbedTexts(request, timeout=timeout_s, metadata=call_metadata()))
        return tuple(_embedding(each) for each in response.embeddings)


class Generator(Peer):
    """Writes captions with a language model."""

    name = "generator"
    service = generator_pb2.DESCRIPTOR.services_by_name["GeneratorService"].full_name

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self._stub = generator_pb2_grpc.GeneratorServiceStub(channel)
        self._circuit = Circuit("generator", CIRCUIT_FAILURES, CIRCUIT_OPEN_S, _proof, _left_alone)

    async def write(
        self, features: Sequence[Feature], subject: Subject, count: int, language: str, timeout_s: float
    ) -> Drafts:
        """Up to `count` captions, each with a scene, from the sure features of a photo.

        A generator that is down or hangs is left alone for some seconds, so that not every request waits for it.
        """
        request = generator_pb2.WriteCaptionsRequest(
            features=[generator_pb2.Feature(category=each.category, labels=each.names) for each in features],
            subject=generator_pb2.Subject.Value(f"SUBJECT_{subject.name}"),
            candidate_count=count,
            language=language,
        )
        with self._circuit.attempt():
            call = self._stub.WriteCaptions(request, timeout=timeout_s, metadata=call_metadata())
            response = await self._answer(call)
        return Drafts(tuple(_draft(each) for each in response.candidates), response.model, response.language)


class Ranker(Peer):
    """Keeps backgrounds and finds those nearest to a text."""

    name = "ranker"
    service = ranker_pb2.DESCRIPTOR.services_by_name["RankerService"].full_name

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self._stub = ranker_pb2_grpc.RankerServiceStub(channel)

    async def upsert(self, background: Background, record: PictureRecord, timeout_s: float) -> None:
        """Stores a background durably, replacing the one of its name, with what was read from its picture."""
        request = ranker_pb2.UpsertBackgroundsRequest(background=_stored(background, record))
        call: Any = self._stub.UpsertBackgrounds(iter([request]), timeout=timeout_s, metadata=call_metadata())
        response = await self._answer(call.read())
        if response.HasField("error"):
            raise _refused(response.error)

    async def get(self, name: str, timeout_s: float) -> Background:
        """Reads a background; raises `NotFound`."""
        request = ranker_pb2.GetBackgroundRequest(name=name)
        response = await self._answer(self._stub.GetBackground(request, timeout=timeout_s, metadata=call_metadata()))
        return _background(response.background)

    async def list(
        self, library: str, page_size: int, page_token: str, timeout_s: float
    ) -> tuple[list[Background], str]:
        """One page of a library and the token of the next; raises `NotFound`."""
        request = ranker_pb2.ListBackgroundsRequest(parent=library, page_size=page_size, page_token=page_token)
        response = await self._answer(self._stub.ListBackgrounds(request, timeout=timeout_s, metadata=call_metadata()))
        return [_background(each) for each in response.backgrounds], response.next_page_token

    async def library(self, name: str, timeout_s: float) -> Library:
        """A library as a whole; raises `NotFound` for one without backgrounds and rules."""
        request = ranker_pb2.GetLibraryRequest(name=name)
        response = await self._answer(self._stub.GetLibrary(request, timeout=timeout_s, metadata=call_metadata()))
        return Library(response.etag, to_conditions(response.rules))

    async def set_rules(
        self, library: str, rules: Sequence[Condition], timeout_s: float
    ) -> tuple[tuple[Condition, ...], tuple[str, ...]]:
        """Replaces the rules of a library; returns them, and those of their keys that no background of it has."""
        request = ranker_pb2.UpdateLibraryRequest(name=library, rules=from_conditions(rules, ranker_pb2))
        response = await self._answer(self._stub.UpdateLibrary(request, timeout=timeout_s, metadata=call_metadata()))
        return to_conditions(response.rules), tuple(response.unknown_keys)

    async def export(
        self, library: str, timeout_s: float | None
    ) -> AsyncGenerator[tuple[Background, PictureRecord], None]:
        """Every background of a library, with the record of its picture; raises `NotFound`."""
        request = ranker_pb2.ExportBackgroundsRequest(parent=library)
        call: Any = self._stub.ExportBackgrounds(request, timeout=timeout_s, metadata=call_metadata())
        try:
            async for response in call:
                yield _exported(response.background)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, self.name) from error
        finally:
            call.cancel()

    async def delete(self, name: str, timeout_s: float) -> None:
        """Forgets a background; raises `NotFound`."""
        request = ranker_pb2.DeleteBackgroundRequest(name=name)
        await self._answer(self._stub.DeleteBackground(request, timeout=timeout_s, metadata=call_metadata()))

    async def rank(
        self, wish: Wish, scenes: Sequence[str], embeddings: Sequence[Embedding], reading: Reading, timeout_s: float
    ) -> Ranking:
        """The backgrounds that suit the scenes, which count alike, and the product best.

        Args:
            wish: which backgrounds, and how many.
            scenes: n of them.
            embeddings: n of the scenes, to be compared with pictures; or none.
            reading: of the product's photo.
            timeout_s: for the answer.
        """
        request = ranker_pb2.RankBackgroundsRequest(
            parent=wish.library,
            texts=[ranker_pb2.WeightedText(text=scene, weight=1) for scene in scenes],
            filters=from_conditions(wish.conditions, ranker_pb2),
            limit=wish.limit,
            product=_product(reading),
            diversity=wish.diversity,
            weights=[
                ranker_pb2.SignalWeight(signal=_SIGNALS[signal], weight=weight)
                for signal, weight in wish.weights.items()
            ],
        )
        for text, embedding in zip(request.texts, embeddings, strict=False):
            text.embedding.CopyFrom(_comparable(embedding))
        response = await self._answer(self._stub.RankBackgrounds(request, timeout=timeout_s, metadata=call_metadata()))
        return Ranking(
            tuple(_hit(hit) for hit in response.hits),
            response.model,
            tuple((_SIGNALS_BY_NUMBER[each.signal], each.reason) for each in response.unused),
            response.recommendation_id,
            to_conditions(response.applied_rules),
            response.empty_reason,
        )

    async def record_feedback(self, library: str, feedback: Feedback, timeout_s: float) -> Feedback | None:
        """Takes down what was said; None when that was nothing, which takes back what was said before."""
        request = ranker_pb2.RecordFeedbackRequest(
            parent=library,
            recommendation_id=feedback.recommendation_id,
            chosen=feedback.chosen,
            rejected=feedback.rejected,
        )
        response = await self._answer(self._stub.RecordFeedback(request, timeout=timeout_s, metadata=call_metadata()))
        return _feedback(response.feedback) if response.HasField("feedback") else None

    async def feedback_page(
        self, library: str, page_size: int, page_token: str, timeout_s: float
    ) -> tuple[Sequence[Feedback], str]:
        """One page of what was said, and the token of the next page, empty after the last."""
        request = ranker_pb2.ListFeedbackRequest(parent=library, page_size=page_size, page_token=page_token)
        response = await self._answer(self._stub.ListFeedback(request, timeout=timeout_s, metadata=call_metadata()))
        return [_feedback(each) for each in response.feedback], response.next_page_token

    async def reset_feedback(self, library: str, timeout_s: float) -> int:
        """Forgets all feedback of a library; tells on how many recommendations there was some."""
        request = ranker_pb2.ResetFeedbackRequest(parent=library)
        response = await self._answer(self._stub.ResetFeedback(request, timeout=timeout_s, metadata=call_metadata()))
        return response.count


class Compositor(Peer):
    """Shows products in backgrounds."""

    name = "compositor"
    service = compositor_pb2.DESCRIPTOR.services_by_name["CompositorService"].full_name

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self._stub = compositor_pb2_grpc.CompositorServiceStub(channel)

    async def render(
        self, image: bytes, background: str, background_image: bytes, form: PreviewForm, timeout_s: float
    ) -> Preview:
        """A product photo's product in the picture of the background of that name; neither is needed on white."""
        request = compositor_pb2.RenderPreviewRequest(
            image=image,
            background_image=background_image,
            preset=compositor_pb2.Preset.Value(f"PRESET_{form.preset.name}"),
            size=form.size,
            format=compositor_pb2.Format.Value(f"FORMAT_{form.format.name}"),
        )
        call = self._stub.RenderPreview(request, timeout=timeout_s, metadata=call_metadata())
        return _preview(background, await self._answer(call))


def _preview(background: str, response: compositor_pb2.RenderPreviewResponse) -> Preview:
    cut_out, box = response.cut_out, response.product
    return Preview(
        background=background,
        image=response.image,
        content_type=response.content_type,
        width=response.width,
        height=response.height,
        cut_out=CutOut(
            from_alpha=cut_out.source == compositor_pb2.CutOut.SOURCE_ALPHA_CHANNEL,
            confidence=cut_out.confidence,
            rough=cut_out.rough,
            reason=cut_out.reason,
        ),
        product=Box(box.left, box.top, box.width, box.height),
        product_scale=response.product_scale,
    )


_SIGNALS = {each: ranker_pb2.Signal.Value(f"SIGNAL_{each.name}") for each in Signal}
_SIGNALS_BY_NUMBER = {number: signal for signal, number in _SIGNALS.items()}


def _feedback(message: ranker_pb2.Feedback) -> Feedback:
    return Feedback(
        recommendation_id=message.recommendation_id,
        chosen=tuple(message.chosen),
        rejected=tuple(message.rejected),
        shown=tuple(message.shown),
        update_time=message.update_time.ToDatetime(),
    )


def _product(reading: Reading) -> ranker_pb2.Product:
    product = ranker_pb2.Product(palette=_palette(reading.palette), aspect_ratio=reading.aspect_ratio)
    if reading.search_embedding:
        product.embedding.CopyFrom(_comparable(reading.search_embedding))
    return product


def _palette(palette: Sequence[PaletteColor]) -> list[ranker_pb2.PaletteColor]:
    return [ranker_pb2.PaletteColor(hex=each.hex, share=each.share) for each in palette]


def _comparable(embedding: Embedding) -> ranker_pb2.ImageTextEmbedding:
    return ranker_pb2.ImageTextEmbedding(values=embedding.values, model=embedding.model)


def _embedding(message: captioner_pb2.Embedding | ranker_pb2.ImageTextEmbedding) -> Embedding:
    return Embedding(tuple(message.values), message.model)


def to_reading(response: captioner_pb2.ExtractFeaturesResponse) -> Reading:
    """What the captioner says of a photo."""
    box, space = response.foreground, response.free_space
    return Reading(
        features=tuple(_feature(each) for each in response.features),
        embedding=tuple(response.embedding.values),
        foreground=Box(box.left, box.top, box.width, box.height) if response.HasField("foreground") else None,
        model=response.model,
        width=response.image_width,
        height=response.image_height,
        content_type=response.content_type,
        search_embedding=_embedding(response.search_embedding) if response.HasField("search_embedding") else None,
        palette=tuple(PaletteColor(each.hex, each.share) for each in response.palette),
        free_space=_free_space(space) if space.values else None,
    )


def _free_space(space: captioner_pb2.FreeSpace | ranker_pb2.FreeSpace) -> FreeSpace:
    return FreeSpace(space.columns, space.rows, tuple(space.values))


def _feature(feature: captioner_pb2.Feature) -> Feature:
    labels = tuple(Label(each.name, each.confidence, each.margin) for each in feature.labels)
    return Feature(feature.category, labels, feature.unsure)


def _proof(error: BaseException, took_s: float) -> Proof:
    """What a failed call says of the generator; errors of its own show that it lives."""
    reason = error.reason if isinstance(error, BackdropError) else ""
    if reason == "GENERATOR_UNAVAILABLE" or (reason == "GENERATOR_TIMEOUT" and took_s >= PATIENCE_S):
        return Proof.FAILED
    return Proof.ALIVE if reason and reason != "GENERATOR_TIMEOUT" else Proof.NOTHING


def _left_alone(wait_s: float) -> BackdropError:
    error = Unavailable("The generator failed several times in a row and is left alone.", retry_after_s=wait_s)
    error.reason = "GENERATOR_CIRCUIT_OPEN"
    return error


def _draft(candidate: generator_pb2.Candidate) -> Draft:
    written = candidate.translation
    translation = Translation(written.caption, written.scene) if candidate.HasField("translation") else None
    return Draft(
        candidate.caption,
        candidate.scene,
        unsupported=tuple(candidate.unsupported),
        unsuitable=tuple(candidate.unsuitable),
        translation=translation,
    )


def _stored(background: Background, record: PictureRecord) -> ranker_pb2.Background:
    metadata = Struct()
    metadata.update(records.to_record(background))
    stored = ranker_pb2.Background(
        name=background.name,
        captions=[_searched_text(background)],
        attributes=[
            ranker_pb2.Attribute(key=key, values=values) for key, values in records.attributes(background).items()
        ],
        metadata=metadata,
        words=_given_text(background),
        palette=_palette(record.palette),
        width=background.width,
        height=background.height,
    )
    if record.search_embedding:
        stored.image_embedding.CopyFrom(_comparable(record.search_embedding))
    if space := record.free_space:
        stored.free_space.CopyFrom(ranker_pb2.FreeSpace(columns=space.columns, rows=space.rows, values=space.values))
    if background.expire_time:
        stored.expire_time.FromDatetime(background.expire_time)
    return stored


def _searched_text(background: Background) -> str:
    """All captions as one text.

    Alone, each caption would be found by its form: the sentences of a language model are nearer to a scene, which has
    the same form, than a title is that says the right thing. docs/performance.md has the figures.
    """
    given = _given_text(background)
    written = " ".join(caption.text for caption in background.captions if caption.source is not CaptionSource.GIVEN)
    return f"{given[: MAX_CAPTION_LENGTH - len(written) - 1]} {written}".strip()[:MAX_CAPTION_LENGTH]


def _given_text(background: Background) -> str:
    """What people wrote: the title and the keywords."""
    return " ".join(caption.text for caption in background.captions if caption.source is CaptionSource.GIVEN)


def _background(stored: ranker_pb2.Background) -> Background:
    record = json_format.MessageToDict(stored.metadata)
    return records.from_record(stored.name, record, stored.update_time.ToDatetime())


def _exported(stored: ranker_pb2.Background) -> tuple[Background, PictureRecord]:
    background, image, space = _background(stored), stored.image_embedding, stored.free_space
    record = PictureRecord(
        sha256=background.sha256,
        content_type=background.content_type,
        width=background.width,
        height=background.height,
        features=background.features,
        captions=tuple(each for each in background.captions if each.source is not CaptionSource.GIVEN),
        palette=background.palette,
        free_space=_free_space(space) if stored.HasField("free_space") else None,
        search_embedding=_embedding(image) if stored.HasField("image_embedding") else None,
        degraded=background.degraded,
    )
    return background, record


def _hit(hit: ranker_pb2.Hit) -> Hit:
    return Hit(
        background=_background(hit.background),
        score=hit.score,
        matched_scene=hit.matched_text,
        matched_caption=hit.matched_caption,
        signals=tuple(
            SignalPart(_SIGNALS_BY_NUMBER[each.signal], each.similarity, each.weight) for each in hit.signals
        ),
        duplicates=tuple(hit.duplicates),
    )


def _refused(error: ranker_pb2.UpsertError) -> BackdropError:
    refusal = BackdropError(f"The ranker did not store the background: {error.message}")
    refusal.reason = error.reason
    return refusal
