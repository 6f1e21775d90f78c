"""The captioner."""

from collections.abc import Sequence

import grpc

from backdrop.captioner.v1 import captioner_pb2, captioner_pb2_grpc
from gateway.domain import Box, Embedding, Feature, Label, PaletteColor, Reading, Subject
from gateway.peers.peer import Peer
from gateway.peers.values import to_embedding, to_free_space


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
        return to_reading(await self._call(self._stub.ExtractFeatures, request, timeout_s))

    async def score(self, reading: Reading, texts: Sequence[str], timeout_s: float) -> tuple[float, ...]:
        """The cosine of the photo with each of n texts, n of them, -1 to 1."""
        embedding = captioner_pb2.Embedding(values=reading.embedding, model=reading.model)
        request = captioner_pb2.ScoreTextsRequest(embedding=embedding, texts=texts)
        response = await self._call(self._stub.ScoreTexts, request, timeout_s)
        return tuple(response.scores)

    async def embed_texts(self, texts: Sequence[str], timeout_s: float) -> tuple[Embedding, ...]:
        """Each of n texts as it is compared with pictures, n of them."""
        request = captioner_pb2.EmbedTextsRequest(texts=texts)
        response = await self._call(self._stub.EmbedTexts, request, timeout_s)
        return tuple(to_embedding(each) for each in response.embeddings)


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
        search_embedding=to_embedding(response.search_embedding) if response.HasField("search_embedding") else None,
        palette=tuple(PaletteColor(each.hex, each.share) for each in response.palette),
        free_space=to_free_space(space) if space.values else None,
    )


def _feature(feature: captioner_pb2.Feature) -> Feature:
    labels = tuple(Label(each.name, each.confidence, each.margin) for each in feature.labels)
    return Feature(feature.category, labels, feature.unsure)
