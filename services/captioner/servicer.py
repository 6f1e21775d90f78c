"""Translates between the contract and the domain, and keeps blocking work off the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from backdrop.captioner.v1 import captioner_pb2 as pb
from backdrop.captioner.v1.captioner_pb2_grpc import CaptionerServiceServicer
from services.captioner.features import Feature, PhotoFeatures, PhotoReader
from services.captioner.foreground import Box
from services.captioner.taxonomy import Category, Taxonomy

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["CaptionerService"].full_name

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_READERS = {
    "zero_shot": pb.READER_ZERO_SHOT,
    "palette": pb.READER_PALETTE,
    "photometric": pb.READER_PHOTOMETRIC,
}


class CaptionerServicer(CaptionerServiceServicer):
    """Serves a `PhotoReader`.

    Args:
        reader: loaded and warm.
        executor: the threads that photos are read in. A call whose client has gone before its turn is dropped.
    """

    def __init__(self, reader: PhotoReader, executor: Executor) -> None:
        self._reader = reader
        self._executor = executor

    async def ExtractFeatures(
        self, request: pb.ExtractFeaturesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ExtractFeaturesResponse:
        """See the contract."""
        photo = await self._run(self._reader.read, request.image, request.taxonomy)
        return self._features_response(photo)

    async def ScoreTexts(
        self, request: pb.ScoreTextsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ScoreTextsResponse:
        """See the contract."""
        scores = await self._run(self._score, request)
        model = self._reader.model
        return pb.ScoreTextsResponse(scores=scores, model=model.name, logit_scale=model.logit_scale)

    async def ListTaxonomies(
        self, request: pb.ListTaxonomiesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListTaxonomiesResponse:
        """See the contract."""
        taxonomies = self._reader.taxonomies.values()
        return pb.ListTaxonomiesResponse(taxonomies=[_taxonomy_message(each) for each in taxonomies])

    async def _run(
        self, work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: work(*args, **kwargs))

    def _score(self, request: pb.ScoreTextsRequest) -> list[float]:
        return self._reader.score(self._embedding_of(request), list(request.texts))

    def _embedding_of(self, request: pb.ScoreTextsRequest) -> NDArray[np.float32]:
        if request.WhichOneof("source") == "embedding":
            return self._reader.check_embedding(request.embedding.values, request.embedding.model)
        return self._reader.embed(request.image)

    def _features_response(self, photo: PhotoFeatures) -> pb.ExtractFeaturesResponse:
        model = self._reader.model.name
        return pb.ExtractFeaturesResponse(
            features=[_feature_message(each) for each in photo.features],
            embedding=pb.Embedding(values=photo.embedding.tolist(), model=model),
            foreground=_box_message(photo.foreground, photo.width, photo.height) if photo.foreground else None,
            model=model,
            image_width=photo.width,
            image_height=photo.height,
            content_type=photo.content_type,
            palette=[pb.PaletteColor(name=each.name, hex=each.hex, share=each.share) for each in photo.palette],
        )


def _feature_message(feature: Feature) -> pb.Feature:
    return pb.Feature(
        category=feature.category.name,
        labels=[pb.Label(name=each.name, confidence=each.confidence, margin=each.margin) for each in feature.labels],
        unsure=not feature.labels,
        reader=_READERS[feature.category.reader],
    )


def _box_message(box: Box, width: int, height: int) -> pb.BoundingBox:
    left, top = int(box.left * width), int(box.top * height)
    right, bottom = round(box.right * width), round(box.bottom * height)
    return pb.BoundingBox(left=left, top=top, width=max(1, right - left), height=max(1, bottom - top))


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
