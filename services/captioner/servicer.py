"""Translates between the contract and the domain."""

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from pydantic import ValidationError

from backdrop.captioner.v1 import captioner_pb2 as pb
from backdrop.captioner.v1.captioner_pb2_grpc import CaptionerServiceServicer
from chassis.durations import to_duration
from chassis.errors import InvalidArgument
from services.captioner.batched_model import Embedded
from services.captioner.features import Feature, PhotoFeatures, PhotoReader
from services.captioner.foreground import Box
from services.captioner.free_space import FreeSpace
from services.captioner.image_text_model import Embedding
from services.captioner.taxonomy import Category, Taxonomy, ZeroShotCategory, ZeroShotLabel

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["CaptionerService"].full_name

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:  # generic in the type stubs only
    Context = grpc.aio.ServicerContext

_READERS = {
    "zero_shot": pb.READER_ZERO_SHOT,
    "palette": pb.READER_PALETTE,
    "photometric": pb.READER_PHOTOMETRIC,
}


class CaptionerServicer(CaptionerServiceServicer):
    """Serves a `PhotoReader` that is loaded and warm. A call whose client has gone is dropped before its turn."""

    def __init__(self, reader: PhotoReader) -> None:
        self._reader = reader

    async def ExtractFeatures(self, request: pb.ExtractFeaturesRequest, context: Context) -> pb.ExtractFeaturesResponse:
        """See the contract."""
        categories = [_own_category(index, each) for index, each in enumerate(request.categories)]
        photo = await self._reader.read(request.image, request.taxonomy, categories, _deadline(context))
        return features_response(self._reader.card.name, photo)

    async def ScoreTexts(self, request: pb.ScoreTextsRequest, context: Context) -> pb.ScoreTextsResponse:
        """See the contract."""
        card = self._reader.card
        scored = await self._reader.score(self._photo(request), request.texts, _deadline(context))
        return pb.ScoreTextsResponse(
            scores=scored.scores,
            model=card.name,
            logit_scale=card.logit_scale,
            logit_bias=card.logit_bias,
            processing=_processing(scored.took, scored.decode_s),
        )

    async def EmbedTexts(self, request: pb.EmbedTextsRequest, context: Context) -> pb.EmbedTextsResponse:
        """See the contract."""
        model = self._reader.card.name
        embedded = await self._reader.embed_texts(request.texts, _deadline(context))
        return pb.EmbedTextsResponse(
            embeddings=[pb.Embedding(values=row.tolist(), model=model) for row in embedded.rows],
            model=model,
            processing=_processing(embedded, None),
        )

    async def ListTaxonomies(self, request: pb.ListTaxonomiesRequest, context: Context) -> pb.ListTaxonomiesResponse:
        """See the contract."""
        taxonomies = self._reader.taxonomies.values()
        return pb.ListTaxonomiesResponse(taxonomies=[_taxonomy_message(each) for each in taxonomies])

    def _photo(self, request: pb.ScoreTextsRequest) -> Embedding | bytes:
        if request.WhichOneof("source") == "embedding":
            return self._reader.check_embedding(request.embedding.values, request.embedding.model)
        return request.image


def features_response(model: str, read: PhotoFeatures) -> pb.ExtractFeaturesResponse:
    """What was read in a photo by the model of that name, as the contract has it."""
    photo = read.photo
    return pb.ExtractFeaturesResponse(
        features=[_feature_message(each) for each in read.features],
        embedding=pb.Embedding(values=read.embedding.tolist(), model=model),
        foreground=_box_message(photo.box, photo.width, photo.height) if photo.box else None,
        model=model,
        image_width=photo.width,
        image_height=photo.height,
        content_type=photo.content_type,
        palette=[pb.PaletteColor(name=each.name, hex=each.hex, share=each.share) for each in read.palette],
        processing=_processing(read.took, photo.decode_s),
        free_space=_free_space_message(read.free_space),
        search_embedding=pb.Embedding(values=read.search_embedding.tolist(), model=model),
    )


def _deadline(context: Context) -> float | None:
    """The call's deadline on the event loop's clock; None when the client set none."""
    left_s = context.time_remaining()
    return None if left_s is None else asyncio.get_running_loop().time() + left_s


def _own_category(index: int, message: pb.CustomCategory) -> ZeroShotCategory:
    try:
        return ZeroShotCategory(
            name=message.name,
            reader="zero_shot",
            prompts=tuple(message.templates) or ("{}",),
            labels=tuple(ZeroShotLabel(name=label) for label in message.labels),
            max_labels=message.max_labels or 1,
            min_confidence=message.min_confidence,
            min_margin=message.min_margin,
        )
    # Labels that are all spaces, or that differ in spaces alone.
    except ValidationError as error:
        raise InvalidArgument.of(f"categories[{index}].labels", error.errors()[0]["msg"]) from error


def _processing(took: Embedded, decode_s: float | None) -> pb.Processing:
    return pb.Processing(
        decode_duration=None if decode_s is None else to_duration(decode_s),
        queue_duration=to_duration(took.queue_s),
        model_duration=to_duration(took.model_s),
        batch_size=took.batch_size,
    )


def _feature_message(feature: Feature) -> pb.Feature:
    return pb.Feature(
        category=feature.category.name,
        labels=[pb.Label(name=each.name, confidence=each.confidence, margin=each.margin) for each in feature.labels],
        unsure=not feature.labels,
        reader=_READERS[feature.category.reader],
        calibrated=feature.calibrated,
    )


def _box_message(box: Box, width: int, height: int) -> pb.BoundingBox:
    left, top = int(box.left * width), int(box.top * height)
    right, bottom = round(box.right * width), round(box.bottom * height)
    return pb.BoundingBox(left=left, top=top, width=max(1, right - left), height=max(1, bottom - top))


def _free_space_message(free_space: FreeSpace) -> pb.FreeSpace:
    rows, columns = free_space.shape
    return pb.FreeSpace(columns=columns, rows=rows, values=free_space.ravel().tolist())


def _taxonomy_message(taxonomy: Taxonomy) -> pb.Taxonomy:
    categories = [_category_message(each) for each in taxonomy.categories]
    return pb.Taxonomy(name=taxonomy.name, description=taxonomy.description, categories=categories)


def _category_message(category: Category) -> pb.Category:
    return pb.Category(
        name=category.name,
        reader=_READERS[category.reader],
        max_labels=category.max_labels,
        labels=category.label_names,
    )
